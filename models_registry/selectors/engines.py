"""What the reconciler and the engine workers ask: what is to run, and how.

Behind the platform door, which they open.
"""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext as _

from core.encryption import decrypt
from core.errors import NotFound
from core.scoping import platform_scope
from models_registry.models import Deployment
from models_registry.specs import EngineSpec

CREDENTIAL_PURPOSE = "remote-credential"


def serving_deployments() -> list[Deployment]:
    """Every deployment of every tenant that is to run now, with version and model; by id. One query."""
    with platform_scope(reason="what is to run"):
        rows = Deployment.objects.get_queryset().serving().select_related("version__model")
        return list(rows.order_by("pk"))


def engine_spec(*, deployment_id: UUID) -> EngineSpec:
    """What a worker needs to start a replica.

    Raises NotFound when the deployment is not to run (any more).
    """
    with platform_scope(reason="start a replica"):
        rows = Deployment.objects.get_queryset().serving().select_related("version__model")
        deployment = rows.filter(pk=deployment_id).first()
    if deployment is None:
        raise NotFound(_("There is no such deployment."))
    return deployment.engine_spec()


def remote_credential(*, deployment_id: UUID) -> str:
    """The credential of a remote engine, decrypted; "" where there is none. For the engine worker alone.

    SECURITY: never put it into a log line, an error, a response or a message (L19). Raises NotFound;
    ValueError when no configured key decrypts it.
    """
    with platform_scope(reason="speak to a remote engine"):
        rows = Deployment.objects.filter(pk=deployment_id)
        stored = rows.values_list("remote_credential", flat=True).first()
    if stored is None:
        raise NotFound(_("There is no such deployment."))
    return decrypt(CREDENTIAL_PURPOSE, stored) if stored else ""

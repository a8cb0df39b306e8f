"""Which public names a tenant may call, and which deployment answers to each."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from core.scoping import tenant_scope
from models_registry import policies
from models_registry.artifacts import TOKENIZER_FILE, decides_tokens, digest_of
from models_registry.models import (
    Alias,
    Deployment,
    EngineKind,
    MemberGrant,
    Model,
    TenantGrant,
    VersionState,
    Visibility,
)
from models_registry.specs import Route, TokenizerFiles

PLATFORM_OWNER = "atrium"


def routes_for(*, tenant_id: UUID) -> list[Route]:
    """Every public name that the tenant may invoke and that a deployment serves, by name.

    Enters the tenant's scope itself: four queries, whatever the number of models. A name means, in this
    order: the tenant's alias, its own model, a platform-wide alias, the platform's model. Another tenant's
    model is called `<owner>/<name>` and can never take a name from anybody. A model's name leads to its
    newest version that is online and served (else deprecated and served); an alias that leads nowhere hides
    what its name meant before, so that nobody is sent to another model unawares.
    """
    with tenant_scope(tenant_id):
        served = _served(tenant_id)
        members = _members_by_model(served.values())
        names: dict[str, Deployment | None] = {}
        own: dict[str, Deployment | None] = {}
        for deployment in _newest_by_model(served.values()):
            model = deployment.version.model
            if model.tenant_id == tenant_id:
                own[model.name] = deployment
            else:
                names[model.qualified_name] = deployment
        for alias in Alias.objects.all():
            target = own if alias.tenant_id == tenant_id else names
            target[alias.name] = served.get(alias.version_id)
        names |= own
        return [
            _route(name, deployment, members.get(deployment.version.model_id))
            for name, deployment in sorted(names.items())
            if deployment is not None
        ]


def _served(tenant_id: UUID) -> dict[UUID, Deployment]:
    """By version, the deployment that serves it here, of models that the tenant may invoke.

    The tenant's own deployment goes before a shared one, and among equals the oldest.
    """
    granted = set(
        TenantGrant.objects.filter(
            tenant_id=tenant_id, permission__codename=policies.codename(policies.INVOKE)
        ).values_list("content_object_id", flat=True)
    )

    def is_invocable(model: Model) -> bool:
        return model.tenant_id == tenant_id or model.visibility == Visibility.PUBLIC or model.pk in granted

    found: dict[UUID, Deployment] = {}
    rows = Deployment.objects.get_queryset().serving().select_related("version__model")
    for deployment in sorted(rows, key=lambda row: (row.tenant_id is None, row.pk)):
        if is_invocable(deployment.version.model):
            found.setdefault(deployment.version_id, deployment)
    return found


def _newest_by_model(deployments: Iterable[Deployment]) -> Iterable[Deployment]:
    best: dict[UUID, Deployment] = {}
    for deployment in sorted(
        deployments, key=lambda row: (row.version.state == VersionState.ONLINE, row.version.number)
    ):
        best[deployment.version.model_id] = deployment
    return best.values()


def _members_by_model(deployments: Iterable[Deployment]) -> dict[UUID, frozenset[UUID]]:
    """For models that only named members may invoke: who they are."""
    restricted = {
        row.version.model_id: set[UUID]() for row in deployments if row.version.model.restrict_to_members
    }
    if restricted:
        grants = MemberGrant.objects.filter(
            content_object__in=restricted, permission__codename=policies.codename(policies.INVOKE)
        )
        for model_id, user_id in grants.values_list("content_object_id", "user_id"):
            restricted[model_id].add(user_id)
    return {model_id: frozenset(users) for model_id, users in restricted.items()}


def _route(name: str, deployment: Deployment, allowed_user_ids: frozenset[UUID] | None) -> Route:
    version = deployment.version
    return Route(
        name=name,
        model_id=version.model_id,
        version_id=version.pk,
        deployment_id=deployment.pk,
        task=version.model.task,
        context_length=deployment.context_length,
        engine=deployment.engine,
        created=int(version.created_at.timestamp()),
        owned_by=version.model.namespace or PLATFORM_OWNER,
        allowed_user_ids=allowed_user_ids,
        model_name=version.model.qualified_name,
        tokenizer=_tokenizer(deployment),
    )


def _tokenizer(deployment: Deployment) -> TokenizerFiles | None:
    version = deployment.version
    if deployment.engine != EngineKind.VLLM or TOKENIZER_FILE not in version.manifest:
        return None
    files = {name: entry for name, entry in version.manifest.items() if decides_tokens(name)}
    return TokenizerFiles(
        path=version.artifact_path,
        digest=digest_of(files),
        is_platforms=version.model.tenant_id is None,
    )

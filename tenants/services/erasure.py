"""Erasing one end user's data, and closing a tenant for good: both end with a certificate of what went and what stays.

The work is the jobs worker's, walks through the catalogue of data (`core.governance`), and can be cut off and begun
again at any point: what is gone is gone, and the counts of all attempts add up in the certificate.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from core import clock, governance
from core.actors import Actor, system
from core.dispatch import enqueue
from core.encryption import decrypt, derive_key, encrypt, keyed_digest
from core.errors import InvalidInput
from core.events import announce
from core.ids import public_id
from core.scoping import platform_scope, tenant_scope
from tenants.errors import WrongStatus
from tenants.models import Erasure, ErasureKind, Tenant, TenantStatus, WorkState
from tenants.services.tenants import lock

log = structlog.get_logger(__name__)

PURPOSE = "erasure"
MAX_END_USER = 256


@transaction.atomic
def request_end_user(*, actor: Actor, tenant_id: UUID, end_user: str, reason: str) -> Erasure:
    """Have everything erased that is kept of one end user (the `user` of requests) of the active tenant.

    The jobs worker does it; the certificate is then on the returned row. Raises NotAllowed, InvalidInput.
    """
    policies.require(actor, "tenants.erasure.create")
    if not end_user or len(end_user) > MAX_END_USER or "\x00" in end_user:
        raise InvalidInput(_("Name the end user as your requests did."), field="end_user")
    erasure = _new(actor, tenant_id, ErasureKind.END_USER, reason)
    erasure.subject = encrypt(PURPOSE, end_user)
    erasure.subject_digest = subject_digest(tenant_id, end_user)
    erasure.save(force_insert=True)
    audit.record(
        "tenants.end_user.erasure_requested",
        actor=actor,
        target=erasure,
        reason=erasure.reason,
        after={"end_user_digest": erasure.subject_digest},
    )
    enqueue("tenants.run_erasure", erasure_id=str(erasure.pk), of_tenant=str(tenant_id))
    return erasure


@transaction.atomic
def request_tenant(*, tenant: Tenant, actor: Actor, confirm: str, reason: str) -> Erasure:
    """Have everything erased that a closing tenant owns. There is no way back. Needs the platform door.

    `confirm` is the tenant's short name, typed. Raises NotAllowed, InvalidInput, WrongStatus unless it is closing.
    """
    policies.require(actor, "tenants.tenant.erase")
    locked = lock(tenant)
    if confirm != locked.slug:
        raise InvalidInput(_("Type the tenant's short name to confirm."), field="confirm")
    if locked.status != TenantStatus.CLOSING:
        raise WrongStatus(_("Close the tenant first. Its traffic must have stopped."))
    erasure = _new(actor, locked.pk, ErasureKind.TENANT, reason)
    erasure.save(force_insert=True)
    audit.record(
        "tenants.tenant.erasure_requested",
        actor=actor,
        target=erasure,
        tenant_id=locked.pk,
        reason=erasure.reason,
    )
    enqueue("tenants.run_erasure", erasure_id=str(erasure.pk), of_tenant=str(locked.pk))
    return erasure


def _new(actor: Actor, tenant_id: UUID, kind: ErasureKind, reason: str) -> Erasure:
    if not reason.strip():
        raise InvalidInput(_("Give a reason; it is kept in the audit trail."), field="reason")
    # Who asked is named by what they are, and in the audit trail by name: the certificate outlives the tenant.
    who = f"{actor.kind}:{actor.id}" if actor.id else actor.label
    return Erasure(tenant_id=tenant_id, kind=kind, reason=reason.strip()[:1000], requested_by=who[:254])


def subject_digest(tenant_id: UUID, end_user: str) -> str:
    """How a certificate names an end user: whoever knows the name can check it, nobody can read it."""
    return keyed_digest(PURPOSE, f"{tenant_id}:{end_user}")


def run(*, erasure_id: UUID, tenant_id: UUID) -> Erasure:
    """Do the work of one erasure; idempotent, and a second call of a finished one changes nothing.

    Raises what stops it; the state says failed then, and another call goes on.
    """
    with tenant_scope(tenant_id):
        erasure = Erasure.objects.get(pk=erasure_id)
        if erasure.state == WorkState.DONE:
            return erasure
        erasure.state, erasure.begun_at = WorkState.RUNNING, erasure.begun_at or clock.now()
        erasure.save(update_fields=["state", "begun_at", "updated_at"])
    try:
        if erasure.kind == ErasureKind.END_USER:
            _erase_end_user(erasure)
        else:
            _erase_tenant(erasure)
    except Exception:
        with tenant_scope(tenant_id):
            Erasure.objects.filter(pk=erasure_id).update(state=WorkState.FAILED, updated_at=clock.now())
        raise
    return _finish(erasure)


def _erase_end_user(erasure: Erasure) -> None:
    end_user = decrypt(PURPOSE, erasure.subject)
    for name, each in governance.catalogue().items():
        if each.erase_end_user is not None:
            _count(erasure, name, each.erase_end_user(erasure.tenant_id, end_user))


def _erase_tenant(erasure: Erasure) -> None:
    """Twice: what was on its way while the first round ran is gone after the second. The audit trail at the end."""
    for _round in range(2):
        for name, each in governance.catalogue().items():
            if each.erase is not None:
                _count(erasure, name, each.erase(erasure.tenant_id))
            if each.kept:
                erasure.kept[name] = str(each.kept)
        classes = {label: each.name for each in governance.catalogue().values() for label in each.models}
        for model in governance.erasable_models():
            gone = governance.delete_rows(model, erasure.tenant_id)
            _count(erasure, classes[model._meta.label], {model._meta.db_table: gone})
    for name, each in governance.catalogue().items():
        if each.erase_last is not None:
            _count(erasure, name, each.erase_last(erasure.tenant_id))


def _count(erasure: Erasure, name: str, counts: governance.Counts) -> None:
    """Add to the certificate, and keep it at once: whoever goes on after a crash goes on counting."""
    found = erasure.removed.setdefault(name, {})
    for store, count in counts.items():
        found[store] = found.get(store, 0) + count
    with tenant_scope(erasure.tenant_id):
        Erasure.objects.filter(pk=erasure.pk).update(
            removed=erasure.removed, kept=erasure.kept, updated_at=clock.now()
        )


def _finish(erasure: Erasure) -> Erasure:
    with platform_scope("erasure.finish"):
        if erasure.kind == ErasureKind.TENANT:
            _leave_a_stone(erasure.tenant_id)
        erasure.subject = ""
        erasure.state, erasure.finished_at = WorkState.DONE, clock.now()
        erasure.digest = hashlib.sha256(_canonical(certificate(erasure))).hexdigest()
        erasure.signature = _signature(erasure)
        erasure.save()
        _tell(erasure)
        announce("tenant", tenant_id=erasure.tenant_id)
    log.info("erasure.done", erasure_id=str(erasure.pk), kind=erasure.kind)
    return erasure


def _tell(erasure: Erasure) -> None:
    """Into the tenant's trail; the end of a tenant into the platform's, since its own has ended."""
    after = {"sha256": erasure.digest, "removed": erasure.removed}
    if erasure.kind == ErasureKind.TENANT:
        after = {
            "tenant": public_id(Tenant.id_prefix, erasure.tenant_id),
            "erasure": erasure.public_id,
            **after,
        }
        audit.record("tenants.tenant.erased", actor=system("erasure"), after=after)
    else:
        audit.record(
            "tenants.end_user.erased",
            actor=system("erasure"),
            target=erasure,
            tenant_id=erasure.tenant_id,
            after=after,
        )


def _leave_a_stone(tenant_id: UUID) -> None:
    """What is left of the tenant's row: an id that ledger and trail point to, and no name."""
    digest = keyed_digest("closed-tenant", str(tenant_id))[:16]
    Tenant.objects.filter(pk=tenant_id).update(
        name="", slug=f"closed-{digest}", status=TenantStatus.CLOSED, plan=None, updated_at=clock.now()
    )


def certificate(erasure: Erasure) -> dict[str, Any]:
    """What the certificate says, as JSON; `digest` and `signature` are over this."""
    return {
        "id": erasure.public_id,
        "tenant": public_id(Tenant.id_prefix, erasure.tenant_id),
        "kind": str(erasure.kind),
        "end_user_digest": erasure.subject_digest,
        "reason": erasure.reason,
        "requested_by": erasure.requested_by,
        "requested_at": erasure.created_at.isoformat(),
        "begun_at": erasure.begun_at.isoformat() if erasure.begun_at else None,
        "finished_at": erasure.finished_at.isoformat() if erasure.finished_at else None,
        "removed": erasure.removed,
        "kept": erasure.kept,
    }


def is_genuine(erasure: Erasure) -> bool:
    """Whether the row still says what was signed."""
    same = hashlib.sha256(_canonical(certificate(erasure))).hexdigest() == erasure.digest
    return same and hmac.compare_digest(_signature(erasure), erasure.signature)


def _signature(erasure: Erasure) -> str:
    key = derive_key(settings.KEY_PEPPER, "erasure-certificate")
    return hmac.new(key, _canonical(certificate(erasure)), hashlib.sha256).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def erase_closed() -> int:
    """Erase tenants that have been closing for longer than CLOSING_GRACE_DAYS; returns how many were taken on."""
    edge = clock.now() - timedelta(days=settings.CLOSING_GRACE_DAYS)
    with platform_scope("erasure.due"):
        due = list(
            Tenant.objects.filter(status=TenantStatus.CLOSING, closing_at__lt=edge).exclude(
                pk__in=Erasure.objects.filter(
                    kind=ErasureKind.TENANT,
                    state__in=(WorkState.WAITING, WorkState.RUNNING, WorkState.FAILED),
                ).values("tenant_id")
            )
        )
        for tenant in due:
            request_tenant(
                tenant=tenant,
                actor=system("tenants.erase_closed"),
                confirm=tenant.slug,
                reason="closing period over",
            )
    return len(due)


def resume() -> int:
    """Send unfinished erasures again that nobody has touched for an hour; returns how many. Running twice is safe."""
    edge = clock.now() - timedelta(hours=1)
    states = (WorkState.WAITING, WorkState.RUNNING, WorkState.FAILED)
    with platform_scope("erasure.resume"):
        found = list(Erasure.objects.filter(state__in=states, updated_at__lt=edge).order_by("id")[:100])
        for erasure in found:
            enqueue("tenants.run_erasure", erasure_id=str(erasure.pk), of_tenant=str(erasure.tenant_id))
    return len(found)

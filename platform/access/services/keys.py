"""Making, rotating and revoking API keys, inside the scope of the tenant that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext as _

from access import policies, secrets
from access.errors import KeyAlreadyRotated, KeyNotActive, ScopeTooWide
from access.models import APIKey, KeyState
from access.networks import is_within
from access.validation import clean_expiry, clean_models, clean_name, clean_networks, clean_scopes
from audit import services as audit
from core import clock
from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.events import announce
from core.scoping import current_tenant_id

DEFAULT_OVERLAP_S = 24 * 3600
MAX_OVERLAP_S = 30 * 24 * 3600


@transaction.atomic
def create(
    *,
    actor: Actor,
    name: str,
    scopes: Iterable[str] = ("invoke",),
    allowed_models: Iterable[str] = (),
    allowed_networks: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[APIKey, str]:
    """A new key of the active tenant, and its secret: the only time that it can be seen.

    Raises NotAllowed, ScopeTooWide when the key would open more than its maker may, InvalidInput.
    """
    policies.require(actor, "access.key.create")
    key = APIKey(
        tenant_id=current_tenant_id(),
        name=clean_name(name),
        scopes=clean_scopes(scopes),
        allowed_models=clean_models(allowed_models),
        allowed_networks=clean_networks(allowed_networks),
        expires_at=clean_expiry(expires_at),
        created_by_id=actor.id if actor.kind == "person" else None,
    )
    _refuse_wider_than_maker(key, actor)
    secret = _save_with_secret(key)
    audit.record("access.key.created", actor=actor, target=key, after=_shown(key))
    return key, secret


@transaction.atomic
def rotate(*, key: APIKey, actor: Actor, overlap_s: int = DEFAULT_OVERLAP_S) -> tuple[APIKey, str]:
    """A successor of `key` with the same rights and the same expiry, and its secret.

    The old key works for `overlap_s` seconds more (0 to 30 days), so that programs can change over. Raises
    NotAllowed, ScopeTooWide, KeyNotActive, KeyAlreadyRotated, InvalidInput, NotFound.
    """
    policies.require(actor, "access.key.rotate")
    if not 0 <= overlap_s <= MAX_OVERLAP_S:
        raise InvalidInput(
            _("The overlap must be between 0 seconds and %(days)d days.") % {"days": MAX_OVERLAP_S // 86_400},
            field="overlap_s",
        )
    old = _locked(key)
    now = clock.now()
    if old.rotated_to_id is not None:
        raise KeyAlreadyRotated(_("This key has been rotated already."))
    if old.state(now) != KeyState.ACTIVE:
        raise KeyNotActive(_("This key is revoked or expired. Create a new one instead."))
    new = APIKey(
        tenant_id=old.tenant_id,
        name=old.name,
        scopes=old.scopes,
        allowed_models=old.allowed_models,
        allowed_networks=old.allowed_networks,
        expires_at=old.expires_at,
        created_by_id=actor.id if actor.kind == "person" else None,
    )
    # SECURITY: the successor's secret goes to whoever rotates, so rotating must not hand out more than
    # creating.
    _refuse_wider_than_maker(new, actor)
    secret = _save_with_secret(new)
    before = _shown(old)
    end_of_overlap = now + timedelta(seconds=overlap_s)
    old.expires_at = min(old.expires_at or end_of_overlap, end_of_overlap)
    old.rotated_to = new
    old.save(update_fields=["expires_at", "rotated_to", "updated_at"])
    audit.record(
        "access.key.rotated",
        actor=actor,
        target=old,
        before=before,
        after={**_shown(old), "rotated_to": new.public_id},
    )
    announce("key", tenant_id=old.tenant_id, object_id=old.pk)
    return new, secret


@transaction.atomic
def revoke(*, key: APIKey, actor: Actor, reason: str = "") -> APIKey:
    """End the key for good; within a second no process takes it any more. Idempotent. Raises NotAllowed,
    NotFound."""
    policies.require(actor, "access.key.revoke")
    locked = _locked(key)
    if locked.revoked_at is not None:
        return locked
    locked.revoked_at = clock.now()
    locked.save(update_fields=["revoked_at", "updated_at"])
    audit.record(
        "access.key.revoked",
        actor=actor,
        target=locked,
        reason=reason,
        before={"revoked_at": None},
        after={"revoked_at": locked.revoked_at},
    )
    announce("key", tenant_id=locked.tenant_id, object_id=locked.pk)
    return locked


def _locked(key: APIKey) -> APIKey:
    """The key's row, locked to the end of the transaction. Raises NotFound for one outside the scope."""
    locked: APIKey | None = APIKey.objects.select_for_update().filter(pk=key.pk).first()
    if locked is None:
        raise NotFound(_("There is no such API key."))
    return locked


def _save_with_secret(key: APIKey) -> str:
    secret = secrets.new_secret()
    key.prefix = secrets.prefix_of(secret)
    key.digest = secrets.digest(secret)
    key.save(force_insert=True)
    return secret


def _refuse_wider_than_maker(key: APIKey, actor: Actor) -> None:
    """Raise ScopeTooWide when `key` would open more than `actor` may (CVE-2026-47101)."""
    beyond = set(key.scopes) - policies.grantable_scopes(actor)
    if beyond:
        raise ScopeTooWide(
            _("You may not give a key the scope “%(scope)s”.") % {"scope": min(beyond)}, field="scopes"
        )
    if actor.kind != "key":
        return
    maker: APIKey | None = APIKey.objects.filter(pk=actor.id).first()
    if maker is None:
        raise ScopeTooWide(_("Only a key of this tenant can make another."))
    if maker.expires_at is not None and (key.expires_at is None or key.expires_at > maker.expires_at):
        raise ScopeTooWide(_("A key cannot make one that outlives itself."), field="expires_at")
    if maker.allowed_models and not (
        key.allowed_models and set(key.allowed_models) <= set(maker.allowed_models)
    ):
        raise ScopeTooWide(_("A key cannot make one for models that it may not use."), field="allowed_models")
    if not is_within(key.allowed_networks, maker.allowed_networks):
        raise ScopeTooWide(
            _("A key cannot make one for networks that it may not be used from."), field="allowed_networks"
        )


def _shown(key: APIKey) -> dict[str, object]:
    """What the audit trail keeps of a key."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "allowed_networks": key.allowed_networks,
        "expires_at": key.expires_at,
    }

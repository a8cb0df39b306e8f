"""Tenants' data keys: made, found, turned over, wrapped anew, and destroyed (crypto-erasure).

A text is sealed with its tenant's active key, bound to tenant and request. Keys lie wrapped by the platform's key
(ATRIUM_ENCRYPTION_KEY). A destroyed key's row stays, without the key, as evidence of when it went.
"""

from __future__ import annotations

from uuid import UUID

import structlog

from core import clock
from core.encryption import new_data_key, seal, unseal, unwrap_key, wrap_key
from core.scoping import current_tenant_id
from inference.call_logs.models import CallLogText, DataKey

log = structlog.get_logger(__name__)

PURPOSE = "call-log-text"


def _place(tenant_id: UUID, key_id: UUID) -> str:
    return f"{tenant_id}:{key_id}"


def active_key() -> tuple[UUID | None, bytes]:
    """The active tenant's key for new texts; (None, b"") where there is none or it cannot be opened."""
    row = DataKey.objects.filter(is_active=True).first()
    if row is None:
        return None, b""
    try:
        return row.pk, unwrap_key(PURPOSE, row.wrapped, _place(row.tenant_id, row.pk))
    except ValueError:
        log.error("call_logs.data_key_cannot_be_opened", data_key=str(row.pk))
        return None, b""


def turn_over() -> DataKey:
    """A new active key for the active tenant; the one before stays, for what it sealed. Inside a transaction."""
    tenant_id = current_tenant_id()
    DataKey.objects.select_for_update().filter(is_active=True).update(is_active=False, updated_at=clock.now())
    row = DataKey(tenant_id=tenant_id)
    row.wrapped = wrap_key(PURPOSE, new_data_key(), _place(tenant_id, row.pk))
    row.save(force_insert=True)
    return row


def wrap_anew() -> int:
    """Wrap the active tenant's keys with the platform's newest key, after that was changed. Returns how many."""
    rows = list(DataKey.objects.select_for_update().filter(destroyed_at__isnull=True))
    for row in rows:
        place = _place(row.tenant_id, row.pk)
        row.wrapped = wrap_key(PURPOSE, unwrap_key(PURPOSE, row.wrapped, place), place)
        row.save(update_fields=["wrapped", "updated_at"])
    return len(rows)


def destroy_all() -> int:
    """Destroy every key of the active tenant: what they sealed can never be read again, wherever copies lie."""
    return int(
        DataKey.objects.filter(destroyed_at__isnull=True).update(
            wrapped="", is_active=False, destroyed_at=clock.now(), updated_at=clock.now()
        )
    )


def bound_to(tenant_id: UUID | str, request_id: str) -> str:
    """What a sealed text is bound to: moved to another tenant or request, it does not open."""
    return CallLogText.bound_to.format(tenant=tenant_id, request=request_id)


def seal_text(key: bytes, plain: bytes, *, tenant_id: UUID | str, request_id: str) -> bytes:
    """A full text as it is stored."""
    return seal(key, plain, bound_to(tenant_id, request_id))


def open_text(row: CallLogText) -> bytes:
    """The full text of a row. Raises ValueError when its key was destroyed or the row was tampered with."""
    key = DataKey.objects.filter(pk=row.data_key_id, destroyed_at__isnull=True).first()
    if key is None:
        raise ValueError("the data key was destroyed")
    opened = unwrap_key(PURPOSE, key.wrapped, _place(key.tenant_id, key.pk))
    return unseal(opened, bytes(row.content), bound_to(row.tenant_id, row.request_id))

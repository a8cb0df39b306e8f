"""The keys that sign checkpoints: out of settings, handed over from the old one to the new one on the record."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings

from audit.links import stamp
from audit.proof.verify import key_id, read_public_key, signed_part
from core.encryption import derive_key

log = structlog.get_logger(__name__)


def signing_keys() -> list[Ed25519PrivateKey]:
    """The configured keys, the one that signs first; none where ATRIUM_AUDIT_KEY is not set."""
    return [
        Ed25519PrivateKey.from_private_bytes(derive_key(secret, "audit-signing"))
        for secret in settings.AUDIT_KEYS
    ]


def public_key(key: Ed25519PrivateKey) -> bytes:
    """Its 32 public bytes."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def shown_key(raw: bytes) -> str:
    """A public key as it is published: base64."""
    return base64.b64encode(raw).decode()


def anchors() -> list[bytes]:
    """What the platform itself holds a trail against: its own keys, and those that settings trust beside them."""
    trusted = [read_public_key(each) for each in settings.AUDIT_TRUSTED_KEYS]
    return [*map(public_key, signing_keys()), *trusted]


def sign(record: dict[str, Any], key: Ed25519PrivateKey, field: str = "signature") -> None:
    """Put a signature over all of the record but its signatures into `field`."""
    record[field] = base64.b64encode(key.sign(signed_part(record))).decode()


def introduction(records: list[dict[str, Any]], now: datetime) -> dict[str, Any] | None:
    """The record that makes the signing key known, signed by the one before; none when it is known already.

    Where the one before is not configured any more, the new key stands alone: what the old one signed is trusted
    again once ATRIUM_AUDIT_TRUSTED_KEYS names it.
    """
    keys = signing_keys()
    current, raw = keys[0], public_key(keys[0])
    last = records[-1] if records else None
    if last is not None and last.get("key_id") == key_id(raw):
        return None
    before = next(
        (key for key in keys[1:] if last is not None and key_id(public_key(key)) == last.get("key_id")), None
    )
    if last is not None and before is None:
        log.error("audit.key_not_handed_over", key_id=key_id(raw), last=last.get("key_id"))
    record: dict[str, Any] = {
        "kind": "key",
        "key_id": key_id(raw),
        "public_key": shown_key(raw),
        "previous_key_id": key_id(public_key(before)) if before is not None else None,
        "time": stamp(now),
    }
    sign(record, current, "own_signature")
    if before is not None:
        sign(record, before)
    return record

"""How a chain stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit import keys, trail
from audit.links import chain_name
from audit.proof.verify import key_id


@dataclass(frozen=True, slots=True)
class ChainState:
    """One chain's head, its last checkpoint, what waits, and the key that signs."""

    chain: str
    last_sequence: int
    last_hash: str
    sealed_at: datetime | None
    signed_through: int
    signed_at: datetime | None
    waiting: int
    erased_through: int
    key_id: str
    public_key: str


def state(*, tenant_id: UUID | None) -> ChainState:
    """How one chain in scope stands. Two queries."""
    head = trail.chain(tenant_id=tenant_id)
    signing = keys.signing_keys()
    raw = keys.public_key(signing[0]) if signing else b""
    return ChainState(
        chain=chain_name(tenant_id),
        last_sequence=head.sequence,
        last_hash=head.hash,
        sealed_at=head.sealed_at,
        signed_through=head.checkpoint_sequence,
        signed_at=head.checkpoint_at,
        waiting=trail.waiting(tenant_id=tenant_id),
        erased_through=head.erased_through,
        key_id=key_id(raw) if raw else "",
        public_key=keys.shown_key(raw),
    )

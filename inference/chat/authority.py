"""In whose name a connection speaks, and whether it still may: by the browser's session, or by an API key.

SECURITY: identity comes from the credential alone (L5), and it is asked for again at every question: a
session that was signed out, a removed member, a revoked key and a suspended tenant stop counting on
connections already open.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from accounts.models import User
from core.actors import Actor
from inference.chat.repository import Party
from inference.gateway import Caller, Rejected
from tenants.middleware import SESSION_KEY, active_membership
from tenants.selectors import memberships_of

if TYPE_CHECKING:
    from inference.gateway import Gateway


class Authority(Protocol):
    """A credential that can be checked again."""

    async def caller(self) -> Caller:
        """The caller as it is now. Raises Rejected. A look-up in memory on the warm path."""

    async def confirm(self) -> None:
        """Check what memory does not know, e.g. that the session was not signed out. Raises Rejected."""


@dataclass(slots=True)
class KeyAuthority:
    """An API key. The secret stays in this object, for as long as the connection is open."""

    gateway: Gateway
    secret: str
    address: str

    def __repr__(self) -> str:
        return "KeyAuthority(…)"  # SECURITY: a secret must not reach a log through a traceback (L19)

    async def caller(self) -> Caller:
        """The key's caller. Raises Rejected."""
        caller = await self.gateway.caller_for_key(self.secret, self.address)
        caller.check(self.address)
        return caller

    async def confirm(self) -> None:
        """Nothing more: `caller` has said all."""


@dataclass(slots=True)
class SessionAuthority:
    """A person who signed in with a browser, in the tenant that was active when the connection was made."""

    gateway: Gateway
    session_key: str
    user_id: UUID
    tenant_id: UUID
    address: str

    async def caller(self) -> Caller:
        """The member's caller. Raises Rejected."""
        caller = await self.gateway.caller_for_member(self.user_id, self.tenant_id, self.address)
        caller.check(self.address)
        return caller

    async def confirm(self) -> None:
        """The session must still be signed in as the same person."""
        current = await signed_in(self.session_key)
        if current is None or current.user_id != self.user_id:
            raise Rejected(401, "signed_out", "You have been signed out. Sign in again to go on.")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a session cookie stands for: a person, and the tenant that is active for them, if any."""

    session_key: str
    user_id: UUID
    tenant_id: UUID | None


def _signed_in(session_key: str) -> SignedIn | None:
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    # Django's own check of the session: backend, account still active, password unchanged since.
    user = get_user(cast(HttpRequest, SimpleNamespace(session=store)))
    if not isinstance(user, User):
        return None
    membership = active_membership(memberships_of(user), store.get(SESSION_KEY))
    return SignedIn(session_key, user.pk, membership.tenant_id if membership else None)


# A read of the session (from the cache, as a rule), of the account, and of its memberships.
signed_in = database_sync_to_async(_signed_in, thread_sensitive=False)


def party_of(caller: Caller) -> Party:
    """Whose chats a caller reads and writes: the key's own, or the member's own."""
    if caller.key_id is not None:
        actor = Actor(kind="key", id=caller.key_id, label=f"key {caller.key_id}")
    else:
        actor = Actor(kind="person", id=caller.user_id, label=f"member {caller.user_id}")
    return Party(tenant_id=caller.tenant_id, actor=actor)

"""The end of a closed tenant's trail: its events go, with a signed record that says so; the links stay.

Nothing else removes an event: the trail has no retention (docs/adr/0020).
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from audit.links import chain_name
from audit.redaction import clean_text
from audit.services.checkpoints import introduce_key, write_record
from audit.services.events import record
from audit.services.sealing import lock_chain, seal_chain
from audit.sinks import checkpoint_sink
from core.actors import Actor
from core.errors import Conflict, InvalidInput, NotAllowed
from core.scoping import platform_scope


def erase_events(*, tenant_id: UUID, actor: Actor, reason: str) -> int:
    """Erase all events of one tenant's trail. Returns how many. Opens the platform door itself. For the last step of
    a tenant's closing; that the tenant is closing is the caller's question.

    First everything is sealed, then the erasure is signed and written to the sink, then the events go; the act
    itself stands in the platform's trail. May be repeated after a crash. Raises NotAllowed, InvalidInput without a
    reason, Conflict without a key to sign with, OSError. Locks the whole trail while events are removed.
    """
    if not actor.is_operator:
        raise NotAllowed(_("Only the platform's operators may do this."))
    if not reason.strip():
        raise InvalidInput(_("Give a reason; it is kept in the audit trail."), field="reason")
    if not settings.AUDIT_KEYS:
        raise Conflict(_("The platform has no key to sign this with: set ATRIUM_AUDIT_KEY."))
    seal_chain(tenant_id)
    with platform_scope("audit.erase"):
        chain = lock_chain(tenant_id)
        if not chain.sequence:
            return 0
        introduce_key(checkpoint_sink())
        signed = write_record(chain, kind="erasure", reason=clean_text(reason.strip(), 1000))
        chain.erased_through = chain.sequence
        chain.save(update_fields=["erased_through"])
    # A transaction of its own: with the chain's head still locked, the sealer and this would wait for each other.
    with platform_scope("audit.erase"):
        with connection.cursor() as cursor:
            # Foreign keys that wait for the end of the transaction would keep the table from being changed.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SELECT audit_erase_events(%s)", [tenant_id])
            gone = int(cursor.fetchone()[0])
        record(
            "audit.trail.erased",
            actor=actor,
            reason=reason,
            after={"chain": chain_name(tenant_id), "through": signed["sequence"], "events": gone},
        )
    return gone

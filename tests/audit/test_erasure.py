"""The events of a closed tenant go with a signed record that says so, and in no other way."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from audit.models import AuditEvent, AuditSeal
from audit.services.erasure import erase_events
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotAllowed
from core.scoping import platform_scope
from tenants.models import Tenant
from tests.audit.conftest import Trail, as_superuser

pytestmark = pytest.mark.django_db(transaction=True)
MACHINE = system("tests")


def erase(trail: Trail, reason: str = "the tenant was closed", actor: Actor = MACHINE) -> int:
    """Behind the platform door, as the closing of a tenant does."""
    assert trail.tenant_id is not None
    with platform_scope(reason="tests"):
        return erase_events(tenant_id=trail.tenant_id, actor=actor, reason=reason)


def events(trail: Trail) -> int:
    """How many there are."""
    with platform_scope(reason="tests"):
        return AuditEvent.objects.filter(tenant_id=trail.tenant_id).count()


def test_events_go_links_stay_and_the_trail_still_verifies(trail: Trail, globex: Tenant) -> None:
    other = Trail(globex.pk, trail.folder)
    other.grow(2)
    trail.write(2)  # not sealed yet
    assert erase(trail) == 11
    assert (events(trail), events(other)) == (0, 2)
    with platform_scope(reason="tests"):
        assert AuditSeal.objects.filter(tenant_id=trail.tenant_id).count() == 11
        said = AuditEvent.objects.get(action="audit.trail.erased")
    assert said.tenant_id is None
    assert said.after == {"chain": trail.chain, "through": 11, "events": 11}
    last = trail.lines()[-1]
    assert (last["kind"], last["sequence"], last["reason"]) == ("erasure", 11, "the tenant was closed")
    assert trail.found() == set()
    assert other.found() == set()


def test_what_comes_after_is_sealed_on_and_its_deletion_is_found(trail: Trail) -> None:
    erase(trail)
    trail.grow(2)
    assert trail.found() == set()
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=trail.event_of(11))
    assert trail.found() == {("deleted", 11)}


def test_it_may_be_repeated_after_a_crash(trail: Trail) -> None:
    with (
        mock.patch("audit.services.erasure.record", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        erase(trail)
    assert events(trail) == 9
    assert trail.found() == set()
    assert erase(trail) == 9
    assert len(trail.lines()) == 4
    assert trail.found() == set()


def test_an_erasure_that_nobody_signed_is_a_deletion(trail: Trail) -> None:
    """The control: what the signed record is for."""
    trail.attack(
        "UPDATE audit_auditchain SET erased_through = 9 WHERE tenant_id = %(chain)s",
        "DELETE FROM audit_auditevent WHERE tenant_id = %(chain)s",
    )
    assert {kind for kind, _sequence in trail.found()} == {"deleted"}


def test_the_database_erases_nothing_that_the_chain_does_not_say(trail: Trail) -> None:
    with as_superuser() as admin:
        admin.execute("SET ROLE atrium_platform")
        assert admin.execute("SELECT audit_erase_events(%s)", [trail.tenant_id]).fetchone() == (0,)
        with pytest.raises(Exception, match="not erased"):
            admin.execute("SELECT audit_erase_events(NULL)")
    assert events(trail) == 9


def test_walls_and_triggers_stand_again_afterwards(trail: Trail) -> None:
    erase(trail)
    with as_superuser() as admin:
        walls = admin.execute(
            "SELECT bool_and(relrowsecurity AND relforcerowsecurity) FROM pg_class"
            " WHERE relname IN ('audit_auditevent', 'audit_auditseal', 'audit_auditchain')"
        ).fetchone()
        trigger = admin.execute(
            "SELECT tgenabled FROM pg_trigger WHERE tgname = 'append_only' AND"
            " tgrelid = 'audit_auditevent'::regclass"
        ).fetchone()
    assert (walls, trigger) == ((True,), (b"O",)) or (walls, trigger) == ((True,), ("O",))


def test_who_may_not_or_gives_no_reason_erases_nothing(trail: Trail, settings: Any) -> None:
    owner = Actor(kind="person", label="alice", role="owner")
    with pytest.raises(NotAllowed):
        erase(trail, actor=owner)
    with pytest.raises(InvalidInput):
        erase(trail, reason=" ")
    settings.AUDIT_KEYS = []
    with pytest.raises(Conflict):
        erase(trail)
    assert events(trail) == 9

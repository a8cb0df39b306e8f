"""The sealer: every committed event once, in one order per chain, whoever writes and whatever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import psycopg
import pytest
from django.db import connection, connections, transaction

from audit import tasks
from audit import trail as audit_trail
from audit.models import AuditChain, AuditEvent, AuditPending, AuditSeal
from audit.proof.verify import GENESIS
from audit.services import checkpoints, record, sealing
from core import clock
from core.actors import system
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests import database
from tests.audit.conftest import Trail, as_superuser

pytestmark = pytest.mark.django_db(transaction=True)


def links(tenant_id: Any) -> list[tuple[int, Any]]:
    """(sequence, event) of a chain."""
    with platform_scope(reason="tests"):
        found = AuditSeal.objects.filter(tenant_id=tenant_id).order_by("sequence")
        return list(found.values_list("sequence", "event_id"))


def in_threads(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, and raise what one of them raises."""
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_each_tenant_has_a_chain_of_its_own_and_the_platform_one(
    acme: Tenant, globex: Tenant, platform_trail: Trail
) -> None:
    trails = [Trail(acme.pk, platform_trail.folder), Trail(globex.pk, platform_trail.folder), platform_trail]
    for count, trail in enumerate(trails, 2):
        trail.write(count)
    tasks.seal()
    for count, trail in enumerate(trails, 2):
        assert [sequence for sequence, _event in links(trail.tenant_id)] == list(range(1, count + 1))
        assert trail.verify().report.is_whole
        assert trail.lines()[-1]["sequence"] == count
    assert {line["chain"] for trail in trails for line in trail.lines()} == {t.chain for t in trails}


def test_an_event_that_commits_late_is_sealed_behind_younger_ones(trail: Trail, acme: Tenant) -> None:
    begun, may_end = threading.Event(), threading.Event()
    late: list[AuditEvent] = []

    def slow() -> None:
        with tenant_scope(acme.pk):
            late.append(record("tests.thing.late", actor=system("tests"), tenant_id=acme.pk))
            begun.set()
            assert may_end.wait(30)

    def quick() -> None:
        assert begun.wait(30)
        trail.grow(1)
        may_end.set()

    in_threads(slow, quick)
    trail.seal()
    ordered = [event for _sequence, event in links(acme.pk)]
    assert ordered[-1] == late[0].pk
    assert late[0].pk < ordered[-2]  # older by its id, and sealed last
    assert trail.found() == set()


def test_what_is_rolled_back_waits_for_no_seal(trail: Trail, acme: Tenant) -> None:
    def fail() -> None:
        with tenant_scope(acme.pk):
            record("tests.thing.done", actor=system("tests"), tenant_id=acme.pk)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with platform_scope(reason="tests"):
        assert not AuditPending.objects.exists()


@pytest.mark.slow
def test_many_writers_and_several_sealers_make_one_whole_chain(
    acme: Tenant, globex: Tenant, platform_trail: Trail
) -> None:
    trails = [Trail(acme.pk, platform_trail.folder), Trail(globex.pk, platform_trail.folder)]

    def write(trail: Trail) -> Callable[[], None]:
        def work() -> None:
            for _ in range(15):
                trail.write()

        return work

    def seal() -> None:
        for _ in range(10):
            sealing.seal()
            checkpoints.sign_due(at_once=True)

    in_threads(*[write(trail) for trail in trails * 2], seal, seal)
    for trail in trails:
        trail.seal()
        assert [sequence for sequence, _event in links(trail.tenant_id)] == list(range(1, 31))
        assert trail.found() == set()
        assert trail.verify().report.signed_through == 30


def test_batches_continue_one_another(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 4)
    trail.write(10)
    assert sealing.seal() == 10
    assert trail.found() == set()
    assert len(links(trail.tenant_id)) == 19


def test_notes_of_events_that_are_gone_keep_no_other_from_its_seal(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "BATCH", 2)
    gone = [event.pk for event in trail.write(3)]
    trail.attack("DELETE FROM audit_auditevent WHERE id = ANY(%(gone)s)", gone=gone)
    trail.write(3)
    assert sealing.seal() == 3
    assert [each.kind for each in trail.verify().report.findings] == ["deleted"] * 3


@pytest.mark.parametrize(
    "dies_at", ["audit.models.AuditSeal.objects.bulk_create", "audit.models.AuditChain.save"]
)
def test_a_sealer_that_dies_in_a_batch_leaves_it_undone_and_the_next_one_does_it(
    trail: Trail, dies_at: str
) -> None:
    trail.write(3)
    with mock.patch(dies_at, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        sealing.seal()
    assert len(links(trail.tenant_id)) == 9
    assert sealing.seal() == 3
    assert sealing.seal() == 0
    checkpoints.sign_due(at_once=True)
    assert trail.found() == set()


def test_a_signer_that_dies_behind_its_record_signs_once(trail: Trail) -> None:
    trail.write(2)
    sealing.seal()
    with (
        mock.patch.object(AuditChain, "save", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        checkpoints.sign_due(at_once=True)
    assert len(trail.lines()) == 4  # written, and the database does not know
    assert checkpoints.sign_due(at_once=True) == 1
    assert len(trail.lines()) == 4
    assert checkpoints.sign_due(at_once=True) == 0
    assert trail.found() == set()


def test_a_record_that_a_crash_cut_off_is_noted_and_does_not_harm_the_next(trail: Trail) -> None:
    with trail.file.open("a") as file:
        file.write('{"kind": "checkpoint", "cha')
    trail.grow(1)
    report = trail.verify().report
    assert [each.kind for each in report.findings] == ["unreadable"]
    assert report.is_whole
    assert report.signed_through == 10


def test_a_sink_that_takes_nothing_delays_the_signature_and_loses_nothing(trail: Trail) -> None:
    trail.write(2)
    sealing.seal()
    with mock.patch("audit.sinks.os.fsync", side_effect=OSError(28, "full")), pytest.raises(OSError):
        checkpoints.sign_due(at_once=True)
    checkpoints.sign_due(at_once=True)
    assert trail.found() == set()
    assert trail.verify().report.signed_through == 11


def test_a_chain_that_contradicts_itself_is_left_alone_and_stops_no_other(
    trail: Trail, globex: Tenant
) -> None:
    trail.attack("UPDATE audit_auditchain SET sequence = 5 WHERE tenant_id = %(chain)s")
    trail.write(1)
    other = Trail(globex.pk, trail.folder)
    other.write(1)
    assert sealing.seal() == 1
    assert len(links(globex.pk)) == 1
    assert len(links(trail.tenant_id)) == 9


def test_a_lost_head_is_taken_from_the_links(trail: Trail) -> None:
    trail.attack("DELETE FROM audit_auditchain WHERE tenant_id = %(chain)s")
    trail.grow(1)
    assert trail.found() == set()
    assert len(links(trail.tenant_id)) == 10


def test_what_the_head_says_is_not_signed_unless_it_is_a_link(trail: Trail) -> None:
    trail.write(1)
    sealing.seal()
    trail.attack("UPDATE audit_auditchain SET hash = repeat('a', 64) WHERE tenant_id = %(chain)s")
    assert checkpoints.sign_due(at_once=True) == 0
    assert len(trail.lines()) == 3


def test_a_chain_is_signed_at_once_after_a_rest_and_then_not_before_the_interval(
    trail: Trail, settings: Any
) -> None:
    settings.AUDIT_CHECKPOINT_S = 10
    trail.write()
    sealing.seal()
    assert checkpoints.sign_due() == 0
    with mock.patch("core.clock.now", return_value=clock.now() + timedelta(seconds=11)):
        assert checkpoints.sign_due() == 1
    assert trail.found() == set()


def test_only_one_sealer_works_at_a_time(trail: Trail) -> None:
    trail.write()
    with as_superuser() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [tasks.SEALING])
        tasks.seal()
        assert len(links(trail.tenant_id)) == 9
        other.execute("SELECT pg_advisory_unlock(%s)", [tasks.SEALING])
    tasks.seal()
    assert len(links(trail.tenant_id)) == 10


def test_the_servers_role_can_neither_seal_nor_take_notes_away(trail: Trail, acme: Tenant) -> None:
    trail.write()
    for statement in (
        "INSERT INTO audit_auditseal (id, tenant_id, sequence, event_id, event_digest, hash, sealed_at, form)"
        " VALUES (gen_random_uuid(), %(tenant)s, 99, gen_random_uuid(), '', '', now(), 1)",
        "UPDATE audit_auditseal SET hash = ''",
        "DELETE FROM audit_auditseal",
        "DELETE FROM audit_auditpending",
        "INSERT INTO audit_auditpending (id, tenant_id) VALUES (gen_random_uuid(), %(tenant)s)",
        "UPDATE audit_auditchain SET sequence = 0",
        "DELETE FROM audit_auditchain",
        "SELECT audit_erase_events(%(tenant)s)",
        "ALTER TABLE audit_auditevent DISABLE TRIGGER note_event",
        "SET session_replication_role = replica",
    ):
        with database.as_runtime() as attacker:
            attacker.execute("SELECT set_config('app.tenant_id', %s, true)", [str(acme.pk)])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attacker.execute(statement, {"tenant": acme.pk})
            attacker.rollback()


@pytest.mark.parametrize("statement", ["UPDATE audit_auditseal SET hash = ''", "DELETE FROM audit_auditseal"])
def test_links_are_append_only_for_the_platform_too(trail: Trail, statement: str) -> None:
    with (
        platform_scope(reason="tests"),
        pytest.raises(Exception, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_what_is_sealed_while_a_trail_is_verified_makes_it_no_less_whole(trail: Trail) -> None:
    real = audit_trail.links

    def links_meanwhile(**options: Any) -> Any:
        found = list(real(**options))
        in_threads(lambda: trail.grow(2))
        return iter(found)

    with mock.patch.object(audit_trail, "links", side_effect=links_meanwhile):
        assert trail.found() == set()
    assert trail.verify().report.signed_through == 11


def test_the_first_link_continues_nothing(trail: Trail) -> None:
    with platform_scope(reason="tests"):
        first = AuditSeal.objects.get(tenant_id=trail.tenant_id, sequence=1)
    assert first.hash != GENESIS
    assert trail.verify().report.last_hash == trail.lines()[-1]["hash"]

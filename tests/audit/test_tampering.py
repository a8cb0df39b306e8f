"""Attack 58: whoever owns the database changes the trail, and verification names the place (L23).

Each attack is a superuser's, with triggers disabled. Each control shows that the trail was whole before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import keys
from audit.links import COLUMNS, sealed_fields, stamp
from audit.models import AuditEvent, AuditSeal
from audit.proof.verify import GENESIS, ChainCheck, event_digest, key_id, link_hash, record_digest
from audit.services import checkpoints, sealing
from core import clock
from core.scoping import platform_scope
from tests.audit.conftest import Trail, as_superuser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def whole_before(trail: Trail) -> None:
    """The control of every attack here."""
    verified = trail.verify()
    assert verified.report.findings == []
    assert (verified.report.links, verified.report.checkpoints) == (9, 3)
    assert verified.report.last_good_sequence == 9


EDITS: dict[str, Any] = {
    "action": "tests.thing.undone",
    "actor_label": "somebody else",
    "actor_kind": "person",
    "actor_id": uuid4(),
    "actor_role": "owner",
    "address": "203.0.113.9",
    "target_type": "tests.Thing",
    "target_id": "key_1",
    "target_label": "a thing",
    "reason": "because",
    "before": '{"a": 1}',
    "after": '{"number": 7}',
    "request_id": "req_2",
    "occurred_at": "2020-01-01T00:00:00Z",
}


@pytest.mark.slow
def test_an_edit_of_any_column_is_found(trail: Trail) -> None:
    event = trail.event_of(5)
    assert EDITS.keys() == {*COLUMNS} - {"id", "tenant_id"}
    for column, value in EDITS.items():
        with as_superuser() as admin:
            found = admin.execute(f"SELECT {column}::text FROM audit_auditevent WHERE id = %s", [event])
            ((before,),) = found.fetchall()
        edit = f"UPDATE audit_auditevent SET {column} = %(value)s WHERE id = %(event)s"
        trail.attack(edit, value=value, event=event)
        report = trail.verify().report
        assert [(each.kind, each.sequence, each.event) for each in report.findings] == [
            ("edited", 5, str(event))
        ], column
        assert report.last_good_sequence == 3
        trail.attack(edit, value=before, event=event)
    assert trail.found() == set()


def test_every_column_of_an_event_is_sealed() -> None:
    assert {field.attname for field in AuditEvent._meta.concrete_fields} == set(COLUMNS)


def test_an_event_that_is_moved_to_another_tenant_is_found(trail: Trail, globex: Any) -> None:
    trail.attack(
        "UPDATE audit_auditevent SET tenant_id = %(other)s WHERE id = %(event)s",
        other=globex.pk,
        event=trail.event_of(2),
    )
    assert trail.found() == {("edited", 2)}


def test_a_deletion_of_an_event_is_found(trail: Trail) -> None:
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=trail.event_of(4))
    assert trail.found() == {("deleted", 4)}


def test_a_deletion_of_events_with_their_links_is_found(trail: Trail) -> None:
    events = [trail.event_of(4), trail.event_of(5)]
    trail.attack(
        "DELETE FROM audit_auditevent WHERE id = ANY(%(events)s)",
        "DELETE FROM audit_auditseal WHERE event_id = ANY(%(events)s)",
        events=events,
    )
    report = trail.verify().report
    assert [(each.kind, each.sequence, each.detail) for each in report.findings] == [("missing", 4, "4-5")]


def test_a_deletion_that_closes_up_behind_itself_is_found(trail: Trail) -> None:
    event = trail.event_of(5)
    trail.attack(
        "DELETE FROM audit_auditevent WHERE id = %(event)s",
        "DELETE FROM audit_auditseal WHERE event_id = %(event)s",
        "UPDATE audit_auditseal SET sequence = sequence - 1 WHERE tenant_id = %(chain)s AND sequence > 5",
        event=event,
    )
    found = trail.found()
    assert ("broken", 5) in found
    assert ("truncated", 9) in found


def test_an_event_that_vanishes_before_it_is_sealed_is_found(trail: Trail) -> None:
    (event,) = trail.write()
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=event.pk)
    trail.seal()
    assert trail.found() == {("deleted", None)}


def test_an_insertion_past_the_platform_is_found(trail: Trail) -> None:
    event = uuid4()
    trail.attack(
        "INSERT INTO audit_auditevent (id, tenant_id, occurred_at, action, actor_kind, actor_label, actor_role,"
        " address, target_type, target_id, target_label, reason, request_id) VALUES (%(event)s, %(chain)s, now(),"
        " 'tests.thing.done', 'system', 'nobody', '', '', '', '', '', '', '')",
        event=event,
    )
    assert [(each.kind, each.event) for each in trail.verify().report.findings] == [("inserted", str(event))]


def test_an_insertion_with_a_link_in_the_middle_is_found(trail: Trail) -> None:
    event = trail.event_of(5)
    trail.attack(
        "UPDATE audit_auditseal SET sequence = sequence + 1000 WHERE tenant_id = %(chain)s AND sequence > 4",
        "UPDATE audit_auditseal SET sequence = sequence - 999 WHERE tenant_id = %(chain)s AND sequence > 1000",
        "INSERT INTO audit_auditevent SELECT %(new)s, occurred_at, action, actor_kind, actor_id, actor_label,"
        " actor_role, address, target_type, target_id, target_label, reason, before, after, request_id, tenant_id"
        " FROM audit_auditevent WHERE id = %(event)s",
        "INSERT INTO audit_auditseal (id, tenant_id, sequence, event_id, event_digest, hash, sealed_at, form)"
        " SELECT gen_random_uuid(), tenant_id, 5, %(new)s, event_digest, hash, sealed_at, form"
        " FROM audit_auditseal WHERE event_id = %(event)s",
        event=event,
        new=uuid4(),
    )
    assert {("edited", 5), ("broken", 5)} <= trail.found()


def test_reordered_links_are_found_and_said_to_be_so(trail: Trail) -> None:
    trail.attack(
        "UPDATE audit_auditseal SET sequence = 1004 WHERE tenant_id = %(chain)s AND sequence = 4",
        "UPDATE audit_auditseal SET sequence = 4 WHERE tenant_id = %(chain)s AND sequence = 7",
        "UPDATE audit_auditseal SET sequence = 7 WHERE tenant_id = %(chain)s AND sequence = 1004",
    )
    report = trail.verify().report
    assert ("broken", 4, "") in [(each.kind, each.sequence, each.detail) for each in report.findings]
    assert ("reordered", 7, "belongs to 4") in [
        (each.kind, each.sequence, each.detail) for each in report.findings
    ]


def test_events_that_change_places_are_found(trail: Trail) -> None:
    first, second = trail.event_of(2), trail.event_of(8)
    trail.attack(
        "UPDATE audit_auditevent SET id = %(spare)s WHERE id = %(first)s",
        "UPDATE audit_auditevent SET id = %(first)s WHERE id = %(second)s",
        "UPDATE audit_auditevent SET id = %(second)s WHERE id = %(spare)s",
        first=first,
        second=second,
        spare=uuid4(),
    )
    assert trail.found() == {("edited", 2), ("edited", 8)}


@pytest.mark.parametrize("forgets_the_head", [True, False])
def test_a_tail_that_is_cut_off_is_found(trail: Trail, forgets_the_head: bool) -> None:
    events = [trail.event_of(sequence) for sequence in (7, 8, 9)]
    statements = [
        "DELETE FROM audit_auditevent WHERE id = ANY(%(events)s)",
        "DELETE FROM audit_auditseal WHERE event_id = ANY(%(events)s)",
    ]
    if forgets_the_head:
        statements.append("DELETE FROM audit_auditchain WHERE tenant_id = %(chain)s")
    trail.attack(*statements, events=events)
    report = trail.verify().report
    assert [(each.kind, each.sequence, each.detail) for each in report.findings] == [
        ("truncated", 7, "signed through 9")
    ]
    assert report.last_good_sequence == 6


def test_a_cut_tail_that_grows_again_is_still_found(trail: Trail) -> None:
    events = [trail.event_of(sequence) for sequence in (7, 8, 9)]
    trail.attack(
        "DELETE FROM audit_auditevent WHERE id = ANY(%(events)s)",
        "DELETE FROM audit_auditseal WHERE event_id = ANY(%(events)s)",
        "DELETE FROM audit_auditchain WHERE tenant_id = %(chain)s",
        events=events,
    )
    trail.grow(1, 5)
    found = trail.found()
    assert ("rewritten", 7) in found
    assert ("fork", 7) in found  # the same key signed another seventh link


def test_the_whole_trail_gone_is_found(trail: Trail) -> None:
    trail.attack(
        "DELETE FROM audit_auditevent WHERE tenant_id = %(chain)s",
        "DELETE FROM audit_auditseal WHERE tenant_id = %(chain)s",
        "DELETE FROM audit_auditchain WHERE tenant_id = %(chain)s",
    )
    assert trail.found() == {("truncated", 1)}


def rewrite(trail: Trail, sequence: int) -> None:
    """Change one event and make every digest and hash anew, as one who knows the code would."""
    trail.attack(
        "UPDATE audit_auditevent SET reason = 'forged' WHERE id = %(event)s", event=trail.event_of(sequence)
    )
    with platform_scope(reason="tests"):
        links = list(AuditSeal.objects.filter(tenant_id=trail.tenant_id).order_by("sequence"))
        rows = {row[0]: row for row in AuditEvent.objects.values_list(*COLUMNS)}
    previous = GENESIS
    for link in links:
        digest = event_digest(sealed_fields(rows[link.event_id]))
        previous = link_hash(
            previous, trail.chain, link.sequence, stamp(link.sealed_at), str(link.event_id), digest
        )
        trail.attack(
            "UPDATE audit_auditseal SET event_digest = %(digest)s, hash = %(hash)s WHERE id = %(link)s",
            digest=digest,
            hash=previous,
            link=link.pk,
        )
    trail.attack("UPDATE audit_auditchain SET hash = %(hash)s WHERE tenant_id = %(chain)s", hash=previous)


def test_a_rewritten_chain_is_found_by_what_was_signed(trail: Trail) -> None:
    rewrite(trail, 5)
    report = trail.verify().report
    assert [(each.kind, each.sequence, each.detail) for each in report.findings] == [
        ("rewritten", 4, "between 4 and 6")
    ]
    assert report.last_good_sequence == 3


def test_a_rewritten_chain_that_is_signed_on_is_still_found(trail: Trail) -> None:
    rewrite(trail, 1)
    trail.grow(2)
    assert trail.found() == {("rewritten", 1)}


def test_control_without_its_checkpoints_the_rewriting_is_not_seen(trail: Trail) -> None:
    """What the checkpoints are for: the chain alone agrees with itself."""
    rewrite(trail, 5)
    with mock.patch.object(ChainCheck, "_hold_against_checkpoints"):
        assert trail.found() == set()


def test_a_rewriting_with_forged_checkpoints_is_found(trail: Trail) -> None:
    rewrite(trail, 5)
    with platform_scope(reason="tests"):
        hashes = dict(AuditSeal.objects.filter(tenant_id=trail.tenant_id).values_list("sequence", "hash"))
    own_key = Ed25519PrivateKey.generate()
    forged = trail.lines()
    previous = None
    for line in forged:
        line["previous"] = previous
        line["hash"] = hashes[line["sequence"]]
        line["key_id"] = key_id(keys.public_key(own_key))
        keys.sign(line, own_key)
        previous = record_digest(line)
    trail.file.write_text("".join(json.dumps(line) + "\n" for line in forged))
    public = base64.b64encode(keys.public_key(own_key)).decode()
    introduced: dict[str, Any] = {
        "kind": "key",
        "key_id": key_id(keys.public_key(own_key)),
        "public_key": public,
        "previous_key_id": None,
        "time": stamp(clock.now()),
    }
    keys.sign(introduced, own_key, "own_signature")
    (trail.folder / "keys.jsonl").write_text(json.dumps(introduced) + "\n")
    assert {kind for kind, _sequence in trail.found()} == {"unknown_key"}
    assert trail.verify().report.last_good_sequence == 0
    # The control: whoever trusts the forger's key sees nothing.
    assert trail.found(anchors=[keys.public_key(own_key)]) == set()


def test_a_changed_checkpoint_is_found(trail: Trail) -> None:
    lines = trail.lines()
    lines[1]["hash"] = "0" * 64
    trail.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert trail.found() == {("bad_signature", 6), ("checkpoint_gap", 9)}


def test_a_removed_checkpoint_is_found(trail: Trail) -> None:
    lines = trail.lines()
    trail.file.write_text("".join(json.dumps(line) + "\n" for line in (lines[0], lines[2])))
    assert trail.found() == {("checkpoint_gap", 9)}


def test_a_cut_tail_of_the_checkpoints_is_found_once_links_have_stood_unsigned(
    trail: Trail, settings: Any
) -> None:
    trail.file.write_text(trail.file.read_text().splitlines(keepends=True)[0])
    assert trail.found() == set()
    settings.AUDIT_UNSEALED_S = 0
    assert trail.found() == {("uncovered", 4)}


def test_two_checkpoints_for_one_link_are_a_fork(trail: Trail) -> None:
    last = trail.lines()[-1]
    with platform_scope(reason="tests"):
        chain = sealing.lock_chain(trail.tenant_id)
        chain.hash = "f" * 64
        checkpoints.write_record(chain, kind="checkpoint")
    assert trail.lines()[-1]["sequence"] == last["sequence"]
    assert trail.found() == {("fork", 9)}


@pytest.fixture
def unique_again(trail: Trail) -> Iterator[None]:
    """What an attack dropped stands again for the next test."""
    yield
    with as_superuser() as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("DELETE FROM audit_auditseal")
        admin.execute("ALTER TABLE audit_auditseal DROP CONSTRAINT IF EXISTS audit_seal_sequence")
        admin.execute(
            "ALTER TABLE audit_auditseal ADD CONSTRAINT audit_seal_sequence"
            " UNIQUE NULLS NOT DISTINCT (tenant_id, sequence)"
        )


def test_two_links_with_one_number_are_a_fork(trail: Trail, unique_again: None) -> None:
    (event,) = trail.write()
    with platform_scope(reason="tests"):
        link = AuditSeal.objects.get(tenant_id=trail.tenant_id, sequence=6)
    with as_superuser() as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("ALTER TABLE audit_auditseal DROP CONSTRAINT audit_seal_sequence")
        admin.execute(
            "INSERT INTO audit_auditseal (id, tenant_id, sequence, event_id, event_digest, hash, sealed_at, form)"
            " VALUES (gen_random_uuid(), %s, 6, %s, %s, %s, now(), 1)",
            [trail.tenant_id, event.pk, link.event_digest, link.hash],
        )
    assert ("fork", 6) in trail.found()


def test_a_link_whose_hash_alone_is_changed_is_the_one_place_named(trail: Trail) -> None:
    trail.attack(
        "UPDATE audit_auditseal SET hash = %(hash)s WHERE tenant_id = %(chain)s AND sequence = 5",
        hash="e" * 64,
    )
    assert trail.found() == {("broken", 5)}


def test_an_event_that_is_never_sealed_is_found(trail: Trail, settings: Any) -> None:
    (event,) = trail.write()
    assert trail.found() == set()
    settings.AUDIT_UNSEALED_S = 0
    assert [(each.kind, each.event) for each in trail.verify().report.findings] == [
        ("unsealed", str(event.pk))
    ]
    assert not sealing.watch()
    trail.seal()
    settings.AUDIT_UNSEALED_S = 60
    assert sealing.watch()
    assert trail.found() == set()


def test_a_clock_that_is_wrong_is_noted_and_is_no_tampering(trail: Trail) -> None:
    event = AuditEvent(
        tenant_id=trail.tenant_id, action="tests.thing.done", actor_kind="system", actor_label="tests"
    )
    event.occurred_at = clock.now() - timedelta(days=3)
    with platform_scope(reason="tests"):
        event.save(force_insert=True)
    trail.seal()
    report = trail.verify().report
    assert {each.kind for each in report.findings} == {"skewed"}
    assert report.is_whole


def test_the_chain_of_one_tenant_tells_nothing_of_anothers(trail: Trail, globex: Any) -> None:
    other = Trail(globex.pk, trail.folder)
    other.grow(2)
    trail.attack("DELETE FROM audit_auditevent WHERE id = %(event)s", event=other.event_of(1))
    assert trail.found() == set()
    assert other.found() == {("deleted", 1)}

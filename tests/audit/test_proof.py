"""The proof by itself, without a database: whatever is done to a chain below its last checkpoint is found."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit import keys
from audit.links import chain_name, tenant_of_chain
from audit.proof import verify
from audit.proof.verify import GENESIS, Link, Report, canonical, event_digest, link_hash, record_digest
from core.ids import new_id, public_id

CHAIN = "ten_00000000000000000000000001"
KEY = Ed25519PrivateKey.generate()
PUBLIC = keys.public_key(KEY)
TRUSTED = {verify.key_id(PUBLIC): PUBLIC}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
contents = st.lists(json_values, min_size=1, max_size=12)


def event(number: int, content: Any) -> dict[str, Any]:
    """One event."""
    return {"id": f"00000000-0000-7000-8000-{number:012d}", "occurred_at": stamp(number), "after": content}


def stamp(number: int) -> str:
    """A moment."""
    return f"2026-11-27T08:00:{number:02d}.000000Z"


def chained(events: list[dict[str, Any]]) -> list[Link]:
    """The links of events."""
    links, previous = [], GENESIS
    for sequence, each in enumerate(events, 1):
        digest = event_digest(each)
        previous = link_hash(previous, CHAIN, sequence, stamp(sequence), each["id"], digest)
        links.append(Link(sequence, stamp(sequence), each["id"], digest, previous, each))
    return links


def signed(links: list[Link], *, every: int = 1) -> list[dict[str, Any]]:
    """Checkpoints of some of them, the last one always."""
    records: list[dict[str, Any]] = []
    for link in links:
        if link.sequence % every == 0 or link.sequence == len(links):
            record: dict[str, Any] = {
                "kind": "checkpoint",
                "chain": CHAIN,
                "sequence": link.sequence,
                "hash": link.hash,
                "time": link.sealed_at,
                "previous": record_digest(records[-1]) if records else None,
                "key_id": verify.key_id(PUBLIC),
            }
            keys.sign(record, KEY)
            records.append(record)
    return records


def verified(links: list[Link], records: list[dict[str, Any] | None]) -> Report:
    """The report."""
    return verify.verify_chain(CHAIN, links, lambda: iter(records), TRUSTED, Report())


@given(contents, st.integers(1, 5))
def test_what_was_not_touched_is_whole(values: list[Any], every: int) -> None:
    links = chained([event(number, value) for number, value in enumerate(values)])
    records = signed(links, every=every)
    report = verified(links, records)
    assert report.findings == []
    assert report.last_good_sequence == len(links)
    assert report.checkpoints == len(records)


@given(contents, st.integers(1, 5), st.data())
def test_every_change_below_the_last_checkpoint_is_found(values: list[Any], every: int, data: Any) -> None:
    links = chained([event(number, value) for number, value in enumerate(values)])
    records = signed(links, every=every)
    place = data.draw(st.integers(0, len(links) - 1))
    kind = data.draw(st.sampled_from(["edit", "drop", "cut", "swap", "double", "rewrite", "reseal", "field"]))
    changed = list(links)
    if kind == "edit":
        changed[place] = changed[place]._replace(event={**(changed[place].event or {}), "after": "forged"})
    elif kind == "drop":
        del changed[place]
    elif kind == "cut":
        del changed[place:]
    elif kind == "swap":
        other = data.draw(st.integers(0, len(links) - 1))
        changed[place], changed[other] = (
            changed[other]._replace(sequence=changed[place].sequence),
            changed[place]._replace(sequence=changed[other].sequence),
        )
    elif kind == "double":
        changed.insert(place, changed[place])
    elif kind in ("rewrite", "reseal"):
        events = [each.event or {} for each in links]
        if kind == "rewrite":
            events[place] = {**events[place], "after": "forged"}
        else:
            del events[place]
        changed = chained(events)
    else:
        name = data.draw(st.sampled_from(["sealed_at", "event_id", "event_digest", "hash"]))
        changed[place] = changed[place]._replace(**{name: "0" * 64})
    report = verified(changed, records)
    # Who cuts out the last link before everything was made anew leaves what was signed.
    assert report.is_whole == (changed == links)


@given(contents, st.data())
def test_every_change_of_a_checkpoint_is_found(values: list[Any], data: Any) -> None:
    links = chained([event(number, value) for number, value in enumerate(values)])
    records = signed(links)
    place = data.draw(st.integers(0, len(records) - 1))
    name = data.draw(st.sampled_from(sorted(records[0])))
    forged = [dict(record) for record in records]
    value = data.draw(st.sampled_from([None, "", 1, 7, "A" * 88, records[0][name]]))
    forged[place][name] = value
    assert verified(links, forged).is_whole == (forged == records)


def test_a_report_keeps_a_bounded_number_of_findings() -> None:
    links = chained([event(number % 60, number) for number in range(500)])
    report = verified([link._replace(event=None) for link in links], [])
    assert len(report.findings) == verify.MOST_FINDINGS
    assert report.left_out == 500 - verify.MOST_FINDINGS


def test_links_are_taken_one_by_one() -> None:
    """Constant memory: no link is kept when the next one comes."""
    taken = 0

    def stream() -> Any:
        nonlocal taken
        for link in itertools.cycle(chained([event(1, 1)])):
            taken += 1
            if taken > 10_000:
                return
            yield link

    report = verified(stream(), [])  # type: ignore[arg-type]
    assert report.links == 1
    assert report.left_out > 9_000


@given(json_values)
def test_the_canonical_form_is_the_same_after_a_round_trip(value: Any) -> None:
    assert canonical(json.loads(canonical(value))) == canonical(value)
    assert canonical({"b": value, "a": 1}) == canonical({"a": 1, "b": value})


def test_what_is_no_json_has_no_form() -> None:
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_a_chain_is_named_by_its_tenant() -> None:
    tenant = new_id()
    assert chain_name(None) == "platform"
    assert tenant_of_chain(chain_name(tenant)) == tenant
    assert tenant_of_chain("platform") is None
    for name in ("", "key_00000000000000000000000001", "ten_x"):
        with pytest.raises(ValueError):
            tenant_of_chain(name)


def test_an_event_is_shown_as_the_platform_shows_it() -> None:
    event_id = new_id()
    assert verify.shown(str(event_id)) == public_id("aud", event_id)


def test_what_verification_says_has_words_for_people() -> None:
    from audit.words import SENTENCES

    assert {*verify.SENTENCES} - {"uncovered"} <= SENTENCES.keys()


def test_a_signature_is_over_everything_but_itself() -> None:
    record = signed(chained([event(1, 1)]))[0]
    assert verify.is_signed(record, PUBLIC)
    assert not verify.is_signed({**record, "more": 1}, PUBLIC)
    assert not verify.is_signed(record, keys.public_key(Ed25519PrivateKey.generate()))
    assert not verify.is_signed({**record, "signature": base64.b64encode(b"x" * 64).decode()}, PUBLIC)

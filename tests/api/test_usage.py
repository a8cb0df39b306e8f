"""Usage through REST: records and sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core import clock
from tests.factories.access import APIKeyFactory
from tests.factories.billing import UsageRecordFactory

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def records(acme, globex):
    """Three requests of Acme's on two days, one of Globex's."""
    key = APIKeyFactory(tenant=acme)
    first = UsageRecordFactory(
        tenant=acme, finished_at=NOON, prompt_tokens=10, completion_tokens=1, key_id=key.pk
    )
    second = UsageRecordFactory(
        tenant=acme,
        finished_at=NOON + timedelta(hours=11),
        prompt_tokens=20,
        completion_tokens=2,
        model="other",
    )
    third = UsageRecordFactory(
        tenant=acme, finished_at=NOON + timedelta(hours=13), prompt_tokens=40, outcome="cancelled"
    )
    foreign = UsageRecordFactory(tenant=globex, finished_at=NOON, prompt_tokens=1000, key_id=key.pk)
    return first, second, third, foreign


def ids(answer):
    """The ids of one page."""
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_records_are_listed_newest_first_and_page_by_page(alice_rest, records):
    first, second, third, _foreign = records
    page = alice_rest.get("/usage/?page_size=2")
    assert ids(page) == [third.public_id, second.public_id]
    rest = alice_rest.get("/" + page.json()["next"].split("/", 3)[3])
    assert ids(rest) == [first.public_id]


def test_records_of_one_moment_are_neither_lost_nor_doubled(alice_rest, acme):
    made = {UsageRecordFactory(tenant=acme, finished_at=NOON).public_id for _ in range(7)}
    seen, path = [], "/usage/?page_size=2"
    while path:
        page = alice_rest.get(path)
        seen += ids(page)
        path = "/" + page.json()["next"].split("/", 3)[3] if page.json()["next"] else ""
    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("day=2026-11-20", [1, 0]),
        ("day=2026-11-21", [2]),
        ("model=other", [1]),
        ("outcome=cancelled", [2]),
        ("since=2026-11-20T20:00:00Z&until=2026-11-21T00:00:00Z", [1]),
    ],
)
def test_records_are_filtered(alice_rest, records, query, found):
    assert ids(alice_rest.get(f"/usage/?{query}")) == [records[index].public_id for index in found]


def test_a_record_is_found_by_key_and_request(alice_rest, records):
    first = records[0]
    row = alice_rest.get(f"/usage/?request_id={first.request_id}").json()["results"][0]
    assert ids(alice_rest.get(f"/usage/?key={row['key']}")) == [first.public_id]
    assert alice_rest.get(f"/usage/{first.public_id}/").json() == row


def span(**fields):
    """A query over the days above."""
    return "&".join(
        ["since=2026-11-20T00:00:00Z", "until=2026-11-22T00:00:00Z", *(f"{k}={v}" for k, v in fields.items())]
    )


def test_sums_by_day(alice_rest, records):
    summary = alice_rest.get(f"/usage/summary/?{span()}").json()
    assert summary["by"] == "day"
    assert summary["groups"] == [
        {
            "group": "2026-11-21",
            "requests": 1,
            "prompt_tokens": 40,
            "cached_tokens": 0,
            "completion_tokens": 0,
            "gpu_seconds": "0",
            "slot_seconds": "0",
            "charges": [],
        },
        {
            "group": "2026-11-20",
            "requests": 2,
            "prompt_tokens": 30,
            "cached_tokens": 0,
            "completion_tokens": 3,
            "gpu_seconds": "0",
            "slot_seconds": "0",
            "charges": [],
        },
    ]


@pytest.mark.parametrize("by", ["model", "key", "outcome"])
def test_sums_by_something_else_add_up_the_same(alice_rest, records, by):
    groups = alice_rest.get(f"/usage/summary/?{span(by=by)}").json()["groups"]
    assert sum(group["prompt_tokens"] for group in groups) == 70
    assert sum(group["requests"] for group in groups) == 3


def test_sums_hold_nothing_of_others(alice_rest, charlie_rest, records):
    key = alice_rest.get(f"/usage/{records[0].public_id}/").json()["key"]
    mine = alice_rest.get(f"/usage/summary/?{span(key=key)}").json()["groups"]
    theirs = charlie_rest.get(f"/usage/summary/?{span(key=key)}").json()["groups"]
    assert [group["prompt_tokens"] for group in mine] == [10]
    assert [group["prompt_tokens"] for group in theirs] == [1000]


def test_staff_see_sums_over_all(olive_rest, records):
    groups = olive_rest.get(f"/usage/summary/?{span(by='outcome')}").json()["groups"]
    assert sum(group["prompt_tokens"] for group in groups) == 1070


@pytest.mark.parametrize(
    "query",
    [
        "by=tenant",
        "since=2026-01-01T00:00:00Z&until=2026-12-01T00:00:00Z",
        "since=2026-11-22T00:00:00Z&until=2026-11-21T00:00:00Z",
        "tenant=x",
        "key=key_x",
    ],
)
def test_a_sum_that_makes_no_sense_is_an_error(alice_rest, query):
    assert alice_rest.get(f"/usage/summary/?{query}").status_code == 400


def test_without_a_span_the_last_thirty_days_count(alice_rest, acme):
    UsageRecordFactory(tenant=acme, prompt_tokens=5)
    UsageRecordFactory(tenant=acme, prompt_tokens=7, finished_at=clock.now() - timedelta(days=40))
    groups = alice_rest.get("/usage/summary/").json()["groups"]
    assert [group["prompt_tokens"] for group in groups] == [5]

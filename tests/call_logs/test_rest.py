"""Call logs over REST: search, export, full text, policy; and the logs of others, which no filter brings to light."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent
from core import clock
from core.actors import system
from core.ids import public_id
from core.scoping import platform_scope, tenant_scope
from inference.api.call_logs import CallLogFilter, CallLogViewSet
from inference.call_logs import data_keys, selectors, services
from inference.call_logs.documents import COLUMNS
from inference.call_logs.wire import FullText, encode_text
from inference.models import CallLog, CallLogText, DataKey, LogPolicy
from tenants.models import Tenant
from tests.api.client import REST, with_key
from tests.factories.access import APIKeyFactory
from tests.factories.call_logs import CallLogFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def globex_log(globex: Tenant, charlie: User) -> CallLog:
    """A row of the neighbour's, with something in every field that a filter looks at."""
    return CallLogFactory(
        tenant=globex,
        key_id=APIKeyFactory(tenant=globex).pk,
        user_id=charlie.pk,
        request_id="req_globexonly",
        trace_id="c" * 32,
        model="globex-model",
        outcome="refused",
        error_code="rate_limit_exceeded",
        limit_name="requests_per_minute",
        end_user="globex-user",
        address="198.51.100.9",
        prompt_summary="user: The falcon lands at dawn.",
    )


def queries_for(row: CallLog) -> dict[str, dict[str, str]]:
    """For every filter, a query that finds the row; with the text in several forms."""
    since = (row.started_at - timedelta(hours=1)).isoformat()
    return {
        "request_id": {"request_id": row.request_id},
        "trace_id": {"trace_id": row.trace_id},
        "key": {"key": public_id("key", row.key_id)},
        "member": {"member": public_id("usr", row.user_id)},
        "model": {"model": row.model},
        "outcome": {"outcome": row.outcome},
        "error_code": {"error_code": row.error_code},
        "limit_name": {"limit_name": row.limit_name},
        "end_user": {"end_user": row.end_user},
        "address": {"address": row.address},
        "since": {"since": since},
        "until": {"until": (clock.now() + timedelta(hours=1)).isoformat()},
        "text": {"text": "FALCON lands"},
    }


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_every_filter_is_put_to_the_test(globex_log: CallLog) -> None:
    assert set(queries_for(globex_log)) == set(CallLogFilter.base_filters)


@pytest.mark.parametrize("name", sorted(CallLogFilter.base_filters))
def test_no_filter_shows_another_tenants_log(
    name: str, globex_log: CallLog, acme: Tenant, alice_client: Client, charlie_client: Client
) -> None:
    """Attack 31. The neighbour finds it by the same query."""
    own = CallLogFactory(tenant=acme)
    query = "?" + urlencode(queries_for(globex_log)[name])
    for rest in (REST(alice_client), with_key(acme, "read")):
        found = ids(rest.get(f"/call-logs/{query}"))
        assert globex_log.public_id not in found
        assert set(found) <= {own.public_id}
    assert globex_log.public_id in ids(REST(charlie_client).get(f"/call-logs/{query}"))


@pytest.mark.parametrize(
    "query",
    [
        "tenant=ten_00000000000000000000000000",
        "tenant_id=1",
        "ordering=tenant_id",
        "search=x",
        "text=falcon&text=x",
        "key__tenant=1",
        "cursor=cD0x",
        "text=%25_%25",
        "text=%27%20OR%201%3D1%20--",
        "end_user=%27%20OR%20%27%27%3D%27",
        "model=globex-model%00",
    ],
)
def test_no_trick_with_the_query_shows_another_tenants_log(
    query: str, globex_log: CallLog, alice: User, alice_client: Client
) -> None:
    answer = REST(alice_client).get(f"/call-logs/?{query}")
    assert answer.status_code in (200, 400)
    assert globex_log.public_id not in answer.content.decode()
    assert "falcon" not in answer.content.decode().lower().replace("text=falcon", "")


def test_export_takes_no_filter_to_another_tenants_logs(
    globex_log: CallLog, alice: User, alice_client: Client, charlie_client: Client
) -> None:
    query = urlencode(
        {"file": "jsonl", "model": globex_log.model, "key": public_id("key", globex_log.key_id)}
    )
    mine = REST(alice_client).get(f"/call-logs/export/?{query}")
    theirs = REST(charlie_client).get(f"/call-logs/export/?{query}")
    assert b"".join(mine.streaming_content) == b""
    assert b"falcon" in b"".join(theirs.streaming_content)


def test_control_behind_the_platform_door_the_row_would_be_seen(
    globex_log: CallLog, acme: Tenant, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_door(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with platform_scope("mutant"):
            return super(CallLogViewSet, self).dispatch(request, *args, **kwargs)

    monkeypatch.setattr(CallLogViewSet, "dispatch", open_door)
    assert globex_log.public_id in ids(REST(alice_client).get("/call-logs/?text=falcon"))


def test_text_is_found_in_both_languages_and_wildcards_stand_for_themselves(
    acme: Tenant, alice_client: Client
) -> None:
    chinese = CallLogFactory(
        tenant=acme, prompt_summary="user: 什么是租户？", response_summary="平台的一个客户。"
    )
    percent = CallLogFactory(tenant=acme, response_summary="Exactly 100%_sure")
    rest = REST(alice_client)
    assert ids(rest.get("/call-logs/?text=租户")) == [chinese.public_id]
    assert ids(rest.get("/call-logs/?text=一个客户")) == [chinese.public_id]
    assert ids(rest.get("/call-logs/?" + urlencode({"text": "100%_SURE"}))) == [percent.public_id]
    assert ids(rest.get("/call-logs/?" + urlencode({"text": "%%"}))) == []
    assert rest.get("/call-logs/?text=a").status_code == 400


def test_a_search_looks_back_seven_days_unless_told_otherwise(acme: Tenant, alice_client: Client) -> None:
    old = CallLogFactory(
        tenant=acme,
        prompt_summary="needle",
        started_at=clock.now() - timedelta(days=8),
        finished_at=clock.now(),
    )
    rest = REST(alice_client)
    assert ids(rest.get("/call-logs/?text=needle")) == []
    since = urlencode({"since": (clock.now() - timedelta(days=9)).isoformat()})
    assert ids(rest.get(f"/call-logs/?text=needle&{since}")) == [old.public_id]


def test_a_search_that_takes_too_long_gives_up(
    acme: Tenant, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 7: the bound is PostgreSQL's own, and it ends with the request."""
    from django.db import connection
    from django.db.models.expressions import RawSQL

    monkeypatch.setattr(selectors, "TEXT_SEARCH_MS", 50)
    CallLogFactory(tenant=acme)
    slow = selectors.containing

    def slowly(rows: Any, text: str, **span: Any) -> Any:
        return slow(rows, text, **span).annotate(nap=RawSQL("pg_sleep(5)::text", ()))

    monkeypatch.setattr(selectors, "containing", slowly)
    answer = REST(alice_client).get("/call-logs/?text=tenant")
    assert (answer.status_code, answer.json()["code"]) == (503, "search_too_long")
    connection.needs_rollback = False


def test_a_log_tells_all_but_no_text_that_is_not_redacted(acme: Tenant, alice_client: Client) -> None:
    row = CallLogFactory(tenant=acme, verdicts=[{"rule": "pii.email", "action": "mask"}], charge_nano=1234)
    body = REST(alice_client).get(f"/call-logs/{row.public_id}/").json()
    assert body["verdicts"] == [{"rule": "pii.email", "action": "mask"}]
    assert body["charge_nano"] == 1234
    assert "search_text" not in body


def test_exports_have_the_same_columns_and_cells_are_harmless(acme: Tenant, alice_client: Client) -> None:
    CallLogFactory(tenant=acme, end_user="=cmd()", prompt_summary='user: "quoted",\nand more')
    rest = REST(alice_client)
    text = b"".join(rest.get("/call-logs/export/?file=csv").streaming_content).decode()
    head, row = list(csv.reader(io.StringIO(text)))
    lines = b"".join(rest.get("/call-logs/export/?file=jsonl").streaming_content).splitlines()
    found = json.loads(lines[0])
    assert head == list(COLUMNS) == list(found)
    assert dict(zip(head, row, strict=True))["end_user"] == "'=cmd()"
    assert found["end_user"] == "=cmd()"
    assert found["prompt_summary"] == 'user: "quoted",\nand more'


def test_pages_of_an_export_lose_and_double_nothing(acme: Tenant) -> None:
    moment = clock.now() - timedelta(minutes=5)
    made = {
        CallLogFactory(tenant=acme, started_at=moment + timedelta(seconds=number // 3)).pk
        for number in range(20)
    }
    wanted = selectors.Wanted(acme.pk, moment - timedelta(seconds=1), clock.now())
    found = [row.pk for page in selectors.pages(wanted, size=3) for row in page]
    assert sorted(found) == sorted(made)


# --- Full text


def full(acme: Tenant, actor: Any = None) -> CallLog:
    """A log with its full text, as the pipeline stores it."""
    with tenant_scope(acme.pk):
        services.set_policy(actor=system("tests"), level="full")
        key_id, key = data_keys.active_key()
        row = CallLog(
            tenant=acme,
            request_id="req_full",
            outcome="completed",
            has_text=True,
            started_at=clock.now(),
            finished_at=clock.now(),
        )
        row.save()
        sealed = data_keys.seal_text(
            key, encode_text(FullText("the prompt", "the answer")), tenant_id=acme.pk, request_id="req_full"
        )
        CallLogText(
            tenant=acme, request_id="req_full", data_key_id=key_id, content=sealed, started_at=row.started_at
        ).save()
    return row


def test_reading_a_full_text_is_for_few_and_leaves_a_trace(
    acme: Tenant, alice_client: Client, bob_client: Client, olive_client: Client
) -> None:
    row = full(acme)
    path = f"/call-logs/{row.public_id}/text/"
    assert REST(bob_client).post(path, {}).status_code == 403
    assert REST(olive_client).post(path, {}).status_code == 403
    assert with_key(acme, "read", "manage").post(path, {}).status_code == 403
    with platform_scope("tests"):
        assert not AuditEvent.objects.filter(action="inference.log.text_read").exists()
    assert REST(alice_client).post(path, {}).json() == {
        "prompt": "the prompt",
        "response": "the answer",
        "is_cut": False,
    }
    with platform_scope("tests"):
        (event,) = AuditEvent.objects.filter(action="inference.log.text_read")
    assert (event.actor_label, event.tenant_id) == ("alice@acme.example", acme.pk)
    assert event.after == {"request": "req_full"}


def test_a_text_opens_in_its_place_only(acme: Tenant, globex: Tenant, alice_client: Client) -> None:
    """Attack 13: a dump of the database, and rows moved from one request or tenant to another, open nothing."""
    row = full(acme)
    with platform_scope("tests"):
        text = CallLogText.objects.get()
        assert b"the prompt" not in bytes(text.content)
        key = DataKey.objects.get()
        assert len(key.wrapped) > 60
    for change in ({"request_id": "req_other"}, {"tenant_id": globex.pk}, {"content": b"x" * 40}):
        moved = CallLogText.objects.model(
            **{f.attname: getattr(text, f.attname) for f in CallLogText._meta.concrete_fields} | change
        )
        with tenant_scope(acme.pk), pytest.raises(ValueError, match="cannot be opened"):
            data_keys.open_text(moved)
    assert REST(alice_client).post(f"/call-logs/{row.public_id}/text/", {}).status_code == 200


def test_a_key_is_turned_over_and_older_texts_still_open(acme: Tenant, alice_client: Client) -> None:
    row = full(acme)
    assert REST(alice_client).post("/log-policy/turn-key-over/", {}).status_code == 200
    with tenant_scope(acme.pk):
        assert DataKey.objects.count() == 2
        assert DataKey.objects.filter(is_active=True).count() == 1
    assert REST(alice_client).post(f"/call-logs/{row.public_id}/text/", {}).status_code == 200


def test_a_destroyed_key_takes_its_texts_with_it(acme: Tenant, alice_client: Client) -> None:
    row = full(acme)
    with tenant_scope(acme.pk):
        assert data_keys.destroy_all() == 1
        assert data_keys.active_key() == (None, b"")
    answer = REST(alice_client).post(f"/call-logs/{row.public_id}/text/", {})
    assert (answer.status_code, answer.json()["code"]) == (503, "text_sealed")


@pytest.mark.slow
def test_data_keys_follow_the_platforms_key(acme: Tenant, alice_client: Client, settings: Any) -> None:
    row = full(acme)
    old = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = ["a-newer-key-of-the-platform-0123456789", *old]
    with tenant_scope(acme.pk):
        assert data_keys.wrap_anew() == 1
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    assert REST(alice_client).post(f"/call-logs/{row.public_id}/text/", {}).status_code == 200
    settings.ENCRYPTION_KEYS = old
    assert REST(alice_client).post(f"/call-logs/{row.public_id}/text/", {}).status_code == 503


# --- Policy


def test_the_policy_has_defaults_and_is_changed_by_administrators(
    acme: Tenant, alice_client: Client, bob_client: Client
) -> None:
    usual = {"level": "summaries", "sample_percent": 100, "retention_days": 30, "kept_entities": []}
    assert REST(bob_client).get("/log-policy/").json() == usual
    assert REST(bob_client).post("/log-policy/change/", {"level": "nothing"}).status_code == 403
    assert (
        with_key(acme, "read", "manage").post("/log-policy/change/", {"level": "nothing"}).status_code == 403
    )
    answer = REST(alice_client).post("/log-policy/change/", {"sample_percent": 10, "kept_entities": ["IP"]})
    assert answer.json() == {**usual, "sample_percent": 10, "kept_entities": ["IP"]}
    with tenant_scope(acme.pk):
        assert LogPolicy.objects.count() == 1
        (event,) = AuditEvent.objects.filter(action="inference.log_policy.changed")
    assert (event.before["sample_percent"], event.after["sample_percent"]) == (100, 10)


@pytest.mark.parametrize(
    "body",
    [
        {"level": "everything"},
        {"sample_percent": 101},
        {"sample_percent": -1},
        {"retention_days": 0},
        {"retention_days": 99_999},
        {"kept_entities": ["E MAIL"]},
        {"kept_entities": ["X"] * 65},
        {"tenant": "ten_x"},
    ],
)
def test_a_senseless_policy_is_refused(body: dict[str, Any], alice: User, alice_client: Client) -> None:
    assert REST(alice_client).post("/log-policy/change/", body).status_code == 400


def test_sampling_is_the_same_in_every_process_and_near_the_percentage() -> None:
    from inference.call_logs.policy import LogTerms

    terms = LogTerms(sample_percent=10)
    taken = sum(terms.wants(f"req_{number:032x}") for number in range(20_000))
    assert 1_700 < taken < 2_300
    assert not LogTerms(sample_percent=0).wants("req_x")
    assert not LogTerms(level="nothing").wants("req_x")

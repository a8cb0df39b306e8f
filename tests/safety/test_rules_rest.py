"""Safety over REST: a tenant's rules, the platform's, files of words, errors beside their field."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from audit.models import AuditEvent
from core.scoping import platform_scope, tenant_scope
from safety.models import PlatformRuleSetVersion, Rule, TenantSafety
from safety.services import builtin
from tenants.models import Tenant
from tests.api.client import REST, with_key
from tests.factories import safety as factories

pytestmark = pytest.mark.django_db
RULE = {"name": "thunder", "kind": "terms", "category": "weather", "terms": ["thunder"], "action_in": "block"}


@pytest.fixture
def alice_rest(alice_client: Client) -> REST:
    """Alice, owner of Acme."""
    return REST(alice_client)


@pytest.fixture
def bob_rest(bob_client: Client) -> REST:
    """Bob, developer of Acme."""
    return REST(bob_client)


@pytest.fixture
def dana_rest(dana_client: Client) -> REST:
    """Dana, viewer of Acme."""
    return REST(dana_client)


@pytest.fixture
def olive_rest(olive_client: Client) -> REST:
    """Olive, operator."""
    return REST(olive_client)


@pytest.fixture
def word_list(alice_rest: REST) -> Any:
    """A list of Acme's."""
    return ok(alice_rest.post("/safety/word-lists/", {"name": "w", "category": "weather"}), 201)


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def fields_of(answer: Any, status: int = 400) -> list[str]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


def upload(rest: REST, path: str, raw: bytes, content_type: str, method: str = "PUT") -> Any:
    return rest.client.generic(
        method, f"/api/v1{path}", data=raw, content_type=content_type, headers=rest.headers
    )


@pytest.mark.slow
def test_a_rule_goes_its_way_from_draft_to_roll_back(alice_rest: REST) -> None:
    rule = ok(alice_rest.post("/safety/rules/", RULE), 201)
    seen = ok(alice_rest.get("/safety/"))
    assert (seen["version"], seen["draft_revision"], seen["on_failure"]) == (0, 1, "close")
    tried = ok(alice_rest.post("/safety/try/", {"text": "a thunder", "direction": "in"}))
    assert tried["refused"]["rule"] == rule["id"]
    assert (tried["refused"]["start"], tried["refused"]["end"]) == (2, 9)
    first = ok(alice_rest.post("/safety/versions/", {"draft_revision": 1, "note": "storms"}), 201)
    assert first["number"] == 1
    path = f"/safety/rules/{rule['id']}/"
    changed = ok(alice_rest.patch(path, {"action_in": "mask", "revision": 1}))
    assert changed["revision"] == 2
    assert fields_of(alice_rest.patch(path, {"action_in": "flag", "revision": 1}), 409) == ["revision"]
    assert fields_of(alice_rest.patch(path, {"action_in": "flag"})) == ["revision"]
    compared = ok(alice_rest.post("/safety/compare/", {"text": "a thunder"}))
    assert not compared["is_same"]
    assert compared["draft"]["text"] == "a [WEATHER]"
    assert compared["changes"]["changed"][0]["fields_changed"] == ["action_in"]
    second = ok(alice_rest.post("/safety/versions/", {}), 201)
    third = ok(alice_rest.post(f"/safety/versions/{first['id']}/roll-back/", {"note": "back"}), 201)
    assert (second["number"], third["number"], third["restores"]) == (2, 3, 1)
    assert ok(alice_rest.get("/safety/"))["version"] == 3
    assert alice_rest.delete(path).status_code == 204
    listed = ok(alice_rest.get("/safety/versions/"))["results"]
    assert [each["number"] for each in listed] == [3, 2, 1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "pattern", "terms": [], "pattern": "("}, "pattern"),
        ({"kind": "pii", "terms": [], "entity": "NOBODY"}, "entity"),
        ({"terms": []}, "terms"),
        ({"action_in": "explode"}, "action_in"),
        ({"category": "<b>"}, "category"),
        ({"threshold": 101}, "threshold"),
        ({"tenant_controlled": True}, "tenant_controlled"),
        ({"key": "pii.email"}, "key"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    alice_rest: REST, acme: Tenant, change: dict[str, Any], field: str
) -> None:
    assert fields_of(alice_rest.post("/safety/rules/", {**RULE, **change})) == [field]
    with tenant_scope(acme.pk):
        assert Rule.objects.count() == 0


def test_a_publication_that_fails_names_the_rule(alice_rest: REST, word_list: dict[str, Any]) -> None:
    body = {"name": "r", "kind": "terms", "word_list": word_list["id"], "action_in": "block"}
    rule = ok(alice_rest.post("/safety/rules/", body), 201)
    assert rule["category"] == "weather"
    assert fields_of(alice_rest.post("/safety/versions/", {})) == [f"rules.{rule['id']}"]
    assert ok(alice_rest.get("/safety/"))["version"] == 0


# --- Word lists


@pytest.mark.parametrize("form", ["text", "csv", "file", "csv file", "json"])
def test_words_come_in_any_form(alice_rest: REST, word_list: dict[str, Any], form: str) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/"
    raw = "thunder\n雷电\n".encode()
    table = "severity,term\nhigh,thunder\nlow,雷电\n".encode()
    if form == "json":
        answer = alice_rest.put(path, {"terms": ["thunder", "雷电"]})
    elif form in ("text", "csv"):
        answer = upload(
            alice_rest, path, table if form == "csv" else raw, f"text/{'csv' if form == 'csv' else 'plain'}"
        )
    else:
        name, content = ("w.csv", table) if form == "csv file" else ("w.txt", raw)
        body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile(name, content, "text/plain")})
        answer = upload(alice_rest, path, body, MULTIPART_CONTENT)
    shown = ok(answer)
    assert (shown["term_count"], shown["revision"]) == (2, 2)
    assert ok(alice_rest.get(path)) == {"count": 2, "terms": ["thunder", "雷电"]}


@pytest.mark.slow
def test_a_hundred_thousand_words_come_as_one_file(alice_rest: REST, word_list: dict[str, Any]) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/"
    raw = "\n".join(f"word number {n}" if n % 2 else f"敏感词语{n}" for n in range(100_000)).encode()
    assert ok(upload(alice_rest, path, raw, "text/plain; charset=utf-8"))["term_count"] == 100_000
    found = ok(alice_rest.get(f"{path}?contains=99999&limit=5"))
    assert found == {"count": 1, "terms": ["word number 99999"]}
    page = ok(alice_rest.get(f"{path}?offset=99999&limit=10"))
    assert (page["count"], len(page["terms"])) == (100_000, 1)


def test_a_wrong_line_of_a_file_is_named(alice_rest: REST, word_list: dict[str, Any]) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/"
    answer = upload(alice_rest, path, b"fine\n---\n" + b"x" * 200 + b"\n", "text/plain")
    assert fields_of(answer) == ["file"]
    assert "Line 2:" in answer.json()["detail"]
    assert "Line 3:" in answer.json()["detail"]
    assert ok(alice_rest.get(path))["count"] == 0


def test_words_are_added_and_removed(alice_rest: REST, word_list: dict[str, Any]) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/"
    ok(alice_rest.patch(path, {"add": ["thunder", "hail"]}))
    assert ok(alice_rest.patch(path, {"add": ["sleet"], "remove": ["hail", "none"]}))["term_count"] == 2
    assert ok(alice_rest.get(path))["terms"] == ["sleet", "thunder"]
    assert fields_of(alice_rest.patch(path, {"add": ["\u200b"]})) == ["add"]


def test_a_file_has_bounds_and_a_form(alice_rest: REST, word_list: dict[str, Any]) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/"
    assert upload(alice_rest, path, b"x" * (4 * 1024 * 1024 + 1), "text/plain").status_code == 413
    assert upload(alice_rest, path, b"x", "application/pdf").status_code == 415
    two = encode_multipart(
        BOUNDARY, {"file": SimpleUploadedFile("a", b"a"), "more": SimpleUploadedFile("b", b"b")}
    )
    assert fields_of(upload(alice_rest, path, two, MULTIPART_CONTENT)) == ["file"]
    # The larger bound is the file's alone.
    large = b'{"add": ["' + b"x" * 300_000 + b'"]}'
    assert upload(alice_rest, path, large, "application/json", "PATCH").status_code == 413


def test_an_upload_over_somebody_elses_is_refused(alice_rest: REST, word_list: dict[str, Any]) -> None:
    path = f"/safety/word-lists/{word_list['id']}/terms/?revision=1"
    ok(upload(alice_rest, path, b"thunder", "text/plain"))
    assert fields_of(upload(alice_rest, path, b"hail", "text/plain"), 409) == ["revision"]


# --- The platform's


def test_operators_keep_the_platforms_rules_with_a_reason(olive_rest: REST, bob_rest: REST) -> None:
    body = {
        **RULE,
        "key": "test.thunder",
        "tenant_controlled": True,
        "loosest_in": "flag",
        "pattern": "",
    }
    rule = ok(olive_rest.post("/safety/platform/rules/", body), 201)
    assert rule["terms"] == ["thunder"]
    assert fields_of(olive_rest.post("/safety/platform/versions/", {"note": "x"})) == ["reason"]
    version = ok(olive_rest.post("/safety/platform/versions/", {"reason": "storms"}), 201)
    assert version["number"] == 1
    assert PlatformRuleSetVersion.objects.get().controls == {"test.thunder": ["flag", "off"]}
    with platform_scope("tests"):
        event = AuditEvent.objects.get(action="safety.platform_version.published")
    assert event.reason == "storms"
    # Tenants see what there is, and not the words.
    (seen,) = ok(bob_rest.get("/safety/platform/rules/"))["results"]
    assert (seen["key"], seen["terms"], seen["pattern"]) == ("test.thunder", [], "")
    assert bob_rest.post("/safety/platform/rules/", body).status_code == 403
    assert bob_rest.post("/safety/platform/versions/", {"reason": "x"}).status_code == 403
    tried = ok(olive_rest.post("/safety/platform/try/", {"text": "thunder", "version": 1}))
    assert tried["refused"]["rule"] == "test.thunder"
    key = {"key": "another.key", "revision": 1}
    assert fields_of(olive_rest.patch(f"/safety/platform/rules/{rule['id']}/", key)) == ["key"]
    assert fields_of(olive_rest.post("/safety/platform/rules/", {**body, "key": "Bad Key"})) == ["key"]
    assert fields_of(olive_rest.post("/safety/platform/rules/", body), 409) == ["key"]


def test_words_of_the_platforms_lists_are_not_for_tenants(olive_rest: REST, alice_rest: REST) -> None:
    words = ok(
        olive_rest.post("/safety/platform/word-lists/", {"name": "w", "category": "c", "terms": ["hail"]}),
        201,
    )
    path = f"/safety/platform/word-lists/{words['id']}/"
    assert ok(alice_rest.get(path))["term_count"] == 1
    assert alice_rest.get(f"{path}terms/").status_code == 403
    assert upload(alice_rest, f"{path}terms/", b"x", "text/plain").status_code == 403
    assert ok(olive_rest.get(f"{path}terms/"))["terms"] == ["hail"]
    assert ok(upload(olive_rest, f"{path}terms/", b"sleet", "text/plain"))["term_count"] == 1


def test_an_operator_opens_a_tenants_door_with_a_reason(
    olive_rest: REST, alice_rest: REST, dana_rest: REST, acme: Tenant
) -> None:
    body = {"tenant": acme.public_id, "on_failure": "open"}
    assert fields_of(olive_rest.post("/safety/platform/on-failure/", body)) == ["reason"]
    shown = ok(olive_rest.post("/safety/platform/on-failure/", {**body, "reason": "incident 7"}))
    assert shown["on_failure"] == "open"
    assert ok(alice_rest.get("/safety/"))["on_failure"] == "open"
    ok(alice_rest.post("/safety/on-failure/", {"on_failure": "close", "reason": "over"}))
    assert dana_rest.post("/safety/on-failure/", {"on_failure": "open", "reason": "x"}).status_code == 403
    with tenant_scope(acme.pk):
        assert TenantSafety.objects.get().on_failure == "close"
        events = AuditEvent.objects.filter(action="safety.failure.changed")
        assert sorted(event.reason for event in events) == ["incident 7", "over"]


# --- Settings, reviews, hits


@pytest.mark.slow
def test_a_tenant_changes_the_platforms_rules_as_far_as_it_may(alice_rest: REST, bob_rest: REST) -> None:
    builtin.seed()
    rules = {each["rule"]: each for each in ok(bob_rest.get("/safety/effective/"))["results"]}
    assert (rules["pii.email"]["action_in"], rules["pii.email"]["mildest_in"]) == ("flag", "off")
    assert rules["illegal.drugs"]["mildest_in"] == "block"
    zh = ok(bob_rest.get("/safety/effective/", headers={"accept-language": "zh-hans"}))
    assert len(zh["results"]) == len(rules)
    body = {"rule": "pii.email", "action_in": "block", "action_out": "mask"}
    row = ok(alice_rest.post("/safety/overrides/", body), 201)
    tried = ok(bob_rest.post("/safety/try/", {"text": "write to bob@acme.example"}))
    assert tried["refused"]["rule"] == "pii.email"
    out = ok(bob_rest.post("/safety/try/", {"text": "write to bob@acme.example", "direction": "out"}))
    assert "bob@acme" not in out["text"]
    too_loose = alice_rest.post("/safety/overrides/", {"rule": "illegal.drugs", "action_in": "flag"})
    assert fields_of(too_loose, 403) == ["action_in"]
    assert too_loose.json()["code"] == "too_loose"
    assert fields_of(alice_rest.post("/safety/overrides/", {"rule": "no.such", "action_in": "block"})) == [
        "rule"
    ]
    path = f"/safety/overrides/{row['id']}/"
    assert ok(alice_rest.patch(path, {"action_in": "off", "revision": 1}))["action_in"] == "off"
    assert alice_rest.delete(path).status_code == 204


def test_disclaimers_are_kept_by_model(alice_rest: REST) -> None:
    row = ok(alice_rest.post("/safety/disclaimers/", {"prefix": "AI: "}), 201)
    assert row["prefix"] == "AI: "
    assert fields_of(alice_rest.post("/safety/disclaimers/", {"suffix": "x"}), 409) == ["model"]
    assert fields_of(alice_rest.post("/safety/disclaimers/", {"model": "m"})) == ["prefix"]
    path = f"/safety/disclaimers/{row['id']}/"
    assert ok(alice_rest.patch(path, {"suffix": " end", "revision": 1}))["suffix"] == " end"
    assert alice_rest.delete(path).status_code == 204


def test_settings_say_what_refusals_say(alice_rest: REST) -> None:
    body = {"language": "zh-hans", "refusal_message": "不行。", "revision": 1}
    assert ok(alice_rest.patch("/safety/settings/", body))["refusal_message"] == "不行。"
    assert fields_of(alice_rest.patch("/safety/settings/", body), 409) == ["revision"]
    assert fields_of(alice_rest.patch("/safety/settings/", {"language": "tlh", "revision": 2})) == [
        "language"
    ]


def test_a_review_is_decided_by_people(alice_rest: REST, acme: Tenant) -> None:
    row = factories.ReviewFactory(tenant=acme)
    program = with_key(acme, "read", "manage")
    path = f"/safety/reviews/{row.public_id}/"
    for rest in (alice_rest, program):
        shown = rest.get(path)
        assert ok(shown)["state"] == "pending"
        assert factories.SECRET_WORD not in shown.content.decode()
    assert program.get(f"{path}text/").status_code == 403
    assert program.post(f"{path}approve/", {"reason": "x"}).status_code == 403
    assert ok(alice_rest.get(f"{path}text/"))["text"] == factories.SECRET_WORD
    assert fields_of(alice_rest.post(f"{path}approve/", {})) == ["reason"]
    assert ok(alice_rest.post(f"{path}approve/", {"reason": "fine"}))["state"] == "approved"
    assert alice_rest.post(f"{path}reject/", {"reason": "no"}).status_code == 409
    assert ok(alice_rest.post(f"{path}withdraw/", {"reason": "no"}))["state"] == "rejected"
    found = ok(alice_rest.get("/safety/reviews/?state=rejected"))["results"]
    assert [each["id"] for each in found] == [row.public_id]


def test_hits_are_read_by_day_and_rule(
    dana_rest: REST, olive_rest: REST, acme: Tenant, globex: Tenant
) -> None:
    mine = factories.HitCountFactory(tenant=acme, rule="pii.email", day="2026-03-01")
    factories.HitCountFactory(tenant=acme, rule="pii.email", day="2026-03-02")
    factories.HitCountFactory(tenant=globex, rule="pii.email", day="2026-03-01")
    found = ok(dana_rest.get("/safety/hits/?day=2026-03-01&rule=pii.email"))["results"]
    assert [(each["id"], each["count"]) for each in found] == [(mine.public_id, 3)]
    assert len(ok(dana_rest.get("/safety/hits/?since=2026-03-01&until=2026-03-02"))["results"]) == 2
    assert len(ok(olive_rest.get("/safety/hits/?day=2026-03-01"))["results"]) == 2
    of_acme = ok(olive_rest.get(f"/safety/hits/?tenant={acme.public_id}"))["results"]
    assert {each["tenant"] for each in of_acme} == {acme.public_id}


def test_the_text_of_the_bench_is_bounded_and_kept_nowhere(bob_rest: REST, acme: Tenant, capfd: Any) -> None:
    secret = factories.SECRET_WORD
    assert fields_of(bob_rest.post("/safety/try/", {"text": "x" * 50_001})) == ["text"]
    ok(bob_rest.post("/safety/try/", {"text": secret}))
    assert secret not in "".join(capfd.readouterr())
    with tenant_scope(acme.pk):
        assert not [event for event in AuditEvent.objects.all() if secret in str(event.after)]

"""Errors are problem details (RFC 9457), whatever went wrong and wherever."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from django.db import DatabaseError, OperationalError, connection

from access.models import APIKey
from api.problems import CONTENT_TYPE
from core.errors import Unavailable
from core.scoping import platform_scope
from tests.api.client import REST
from tests.factories.access import APIKeyFactory

NEW = {"name": "ci", "scopes": ["invoke"]}


def assert_problem(answer, status, code):
    """The answer is one well-formed problem."""
    body = answer.json()
    assert answer.status_code == status, body
    assert answer["Content-Type"] == CONTENT_TYPE
    assert answer["Cache-Control"] == "no-store"
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:atrium:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request["PATH_INFO"]
    assert body["request_id"] == answer["x-request-id"]
    return body


def test_a_stranger_is_told_how_to_sign_in(db):
    answer = REST().get("/keys/")
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="atrium"'


def test_an_object_that_is_not_there(alice_rest):
    for public_id in (
        "key_00000000000000000000000000",
        "key_nonsense",
        "mem_00000000000000000000000000",
        "1",
    ):
        assert_problem(alice_rest.get(f"/keys/{public_id}/"), 404, "not_found")


def test_a_path_that_leads_nowhere(alice_rest):
    assert_problem(alice_rest.get("/nothing/"), 404, "not_found")
    assert_problem(alice_rest.post("/api/v2/keys/", {}), 404, "not_found")


def test_a_missing_slash_is_named(alice_rest):
    body = assert_problem(alice_rest.post("/keys", NEW), 404, "not_found")
    assert "/api/v1/keys/" in body["detail"]


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_method_that_is_not_there(alice_rest, method):
    answer = getattr(alice_rest, method)("/keys/")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer["Allow"].split(", ")) == {"GET", "POST", "HEAD"}


def test_another_media_type(alice_client, alice):
    answer = alice_client.post("/api/v1/keys/", "name=x", content_type="application/x-www-form-urlencoded")
    assert_problem(answer, 415, "unsupported_media_type")


def test_an_answer_that_cannot_be_given(alice_rest):
    assert_problem(alice_rest.get("/keys/", headers={"accept": "application/xml"}), 406, "not_acceptable")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"{", "line 1"),
        (b"", "name"),
        (b'{"name": "a", "name": "b", "scopes": ["read"]}', "twice"),
        (b'{"name": NaN}', "NaN"),
        (b'{"name": "\xff"}', "UTF-8"),
        (b'{"name": "\\ud800"}', "no text"),
        (b'{"name": "a\\u0000b"}', "no text"),
        (b"[" * 100_000, "levels"),
        (b'{"name":' * 65 + b"1" + b"}" * 65, "levels"),
        (b"[" + b"1," * 30_000 + b"1]", "values"),
        (b'{"name": ' + b"9" * 5_000 + b"}", ""),
        (b"[]", ""),
        (b'"text"', ""),
        (b"null", ""),
    ],
)
def test_a_body_that_cannot_be_read(alice_rest, raw, word):
    answer = alice_rest.post("/keys/", raw=raw)
    assert answer.status_code == 400, answer.content
    body = answer.json()
    assert body["code"] in ("malformed", "invalid")
    assert word in json.dumps(body)


def test_a_body_that_is_too_large(alice_rest):
    raw = b'{"name": "' + b"x" * 300_000 + b'", "scopes": ["read"]}'
    assert_problem(alice_rest.post("/keys/", raw=raw), 413, "too_large")


def test_every_field_that_is_wrong_is_named(alice_rest):
    answer = alice_rest.post("/keys/", {"scopes": ["fly"], "expires_at": "soon", "allowed_models": "x"})
    body = assert_problem(answer, 400, "invalid")
    fields = {error["field"]: error for error in body["errors"]}
    assert {"name", "scopes.0", "expires_at", "allowed_models"} <= set(fields)
    assert fields["name"]["code"] == "required"
    assert all(error["message"] for error in body["errors"])


@pytest.mark.parametrize(
    "name", ["tenant", "tenant_id", "id", "digest", "created_by", "last_used_at", "is_admin"]
)
def test_a_field_that_cannot_be_set_is_refused_by_name(alice_rest, acme, name):
    answer = alice_rest.post("/keys/", {**NEW, name: "x"})
    body = assert_problem(answer, 400, "invalid")
    assert [error["field"] for error in body["errors"]] == [name]
    with platform_scope("tests"):
        assert not APIKey.objects.exists()


def test_an_error_of_the_domain_names_its_field(alice_rest):
    answer = alice_rest.post("/keys/", {**NEW, "allowed_networks": ["not a network"]})
    body = assert_problem(answer, 400, "invalid")
    assert body["errors"][0]["field"] == "allowed_networks"


def test_errors_speak_the_readers_language(alice_rest):
    english = alice_rest.get("/nothing/").json()
    chinese = alice_rest.get("/nothing/", headers={"accept-language": "zh-hans"}).json()
    assert english["code"] == chinese["code"]
    assert english["detail"] != chinese["detail"]


def test_a_failure_of_ours_says_nothing_and_takes_back_everything(alice_rest, acme):
    def fail(*args, **kwargs):
        APIKeyFactory(tenant=acme)  # something written before the failure
        raise RuntimeError("the secret is atr-abcdefgh-whatever")

    with mock.patch("access.services.keys.create", side_effect=fail):
        answer = alice_rest.post("/keys/", NEW)
    assert_problem(answer, 500, "internal")
    assert "atr-" not in answer.content.decode()
    assert "RuntimeError" not in answer.content.decode()
    with platform_scope("tests"):
        assert not APIKey.objects.exists()


def test_a_refusal_takes_back_everything_too(alice_rest, acme):
    def refuse(*args, **kwargs):
        APIKeyFactory(tenant=acme)
        raise Unavailable("not now")

    with mock.patch("access.services.keys.create", side_effect=refuse):
        answer = alice_rest.post("/keys/", NEW)
    assert_problem(answer, 503, "unavailable")
    assert answer["Retry-After"]
    with platform_scope("tests"):
        assert not APIKey.objects.exists()


def test_a_broken_statement_leaves_the_connection_usable(alice_rest, acme):
    def break_it(*args, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    with mock.patch("access.services.keys.create", side_effect=break_it):
        assert_problem(alice_rest.post("/keys/", NEW), 500, "internal")
    assert alice_rest.post("/keys/", NEW).status_code == 201


def test_a_database_that_is_away_is_worth_another_try(alice_rest):
    with mock.patch(
        "access.selectors.keys", side_effect=OperationalError("connection refused to db.internal")
    ):
        answer = alice_rest.get("/keys/")
    assert_problem(answer, 503, "unavailable")
    assert answer["Retry-After"] == "5"
    assert "db.internal" not in answer.content.decode()
    with mock.patch("access.selectors.keys", side_effect=DatabaseError("boom")):
        assert_problem(alice_rest.get("/keys/"), 500, "internal")


def test_options_tells_nothing(alice_rest):
    assert_problem(alice_rest.request("OPTIONS", "/keys/"), 405, "method_not_allowed")


@pytest.mark.parametrize(("path", "is_problem"), [("/api/v1/me/", True), ("/console/", False)])
def test_what_goes_wrong_before_a_view_is_a_problem_under_api_only(client, db, path, is_problem):
    answer = client.get(path, headers={"host": "not allowed"})
    assert answer.status_code == 400
    assert (answer["Content-Type"] == CONTENT_TYPE) is is_problem


@pytest.mark.parametrize(("path", "is_problem"), [("/api/v1/me/", True), ("/console/", False)])
def test_what_goes_wrong_in_middleware_is_one_too(client, db, path, is_problem):
    client.raise_request_exception = False
    with mock.patch("tenants.middleware.TenantMiddleware.__call__", side_effect=RuntimeError("hunter22")):
        answer = client.get(path)
    assert answer.status_code == 500
    assert "hunter22" not in answer.content.decode()
    assert (answer["Content-Type"] == CONTENT_TYPE) is is_problem

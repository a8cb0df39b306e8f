"""A POST that is sent twice is carried out once."""

from __future__ import annotations

import threading
from datetime import timedelta
from unittest import mock

import pytest
from django.db import connection

from access.models import APIKey
from api import idempotency
from api.models import IdempotencyRecord
from api.tasks import forget_idempotency_keys
from core import clock
from core.scoping import platform_scope
from tests.api.client import REST, with_key

NEW = {"name": "ci", "scopes": ["invoke"]}
KEY = {"Idempotency-Key": "0f6f-first"}


def made() -> int:
    """How many keys named as above there are."""
    with platform_scope("tests"):
        return APIKey.objects.filter(name="ci").count()


def records():
    """What is kept."""
    with platform_scope("tests"):
        return list(IdempotencyRecord.objects.all())


def test_the_second_answer_is_the_first_one(alice_rest):
    first = alice_rest.post("/keys/", NEW, headers=KEY)
    second = alice_rest.post("/keys/", NEW, headers=KEY)
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    assert second["Location"] == first["Location"]
    assert "Idempotent-Replayed" not in first
    assert made() == 1


def test_without_a_key_each_request_counts(alice_rest):
    alice_rest.post("/keys/", NEW)
    alice_rest.post("/keys/", NEW)
    assert made() == 2
    assert records() == []


def test_one_key_for_two_requests_is_a_mistake(alice_rest):
    alice_rest.post("/keys/", NEW, headers=KEY)
    other = alice_rest.post("/keys/", {**NEW, "name": "other"}, headers=KEY)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    elsewhere = alice_rest.post("/members/", {"email": "x@y.example", "role": "viewer"}, headers=KEY)
    assert elsewhere.status_code == 422


def test_keys_are_each_actors_own(alice_rest, bob_rest, charlie_rest, acme_rest):
    answers = [rest.post("/keys/", NEW, headers=KEY) for rest in (alice_rest, bob_rest, charlie_rest)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    program = acme_rest.post("/keys/", {"name": "ci", "scopes": ["read"]}, headers=KEY)
    assert program.status_code == 201
    assert len({answer.json()["id"] for answer in [*answers, program]}) == 4
    assert len({answer.json()["secret"] for answer in [*answers, program]}) == 4


def test_a_request_that_failed_may_be_sent_again(alice_rest):
    refused = alice_rest.post("/keys/", {**NEW, "allowed_networks": ["nonsense"]}, headers=KEY)
    assert refused.status_code == 400
    assert records() == []
    assert alice_rest.post("/keys/", NEW, headers=KEY).status_code == 201


def test_the_answer_and_the_change_commit_together(alice_rest):
    with mock.patch.object(idempotency, "encrypt", side_effect=RuntimeError):
        assert alice_rest.post("/keys/", NEW, headers=KEY).status_code == 500
    assert made() == 0
    assert records() == []


def test_what_is_kept_cannot_be_read(alice_rest):
    secret = alice_rest.post("/keys/", NEW, headers=KEY).json()["secret"]
    (record,) = records()
    assert secret not in record.body
    assert "atr-" not in record.body
    assert KEY["Idempotency-Key"] not in record.key_digest
    with connection.cursor() as cursor, platform_scope("tests"):
        cursor.execute("SELECT t::text FROM api_idempotencyrecord t")
        assert "atr-" not in str(cursor.fetchall())


def test_a_days_old_key_is_new_again(alice_rest):
    first = alice_rest.post("/keys/", NEW, headers=KEY).json()
    later = clock.now() + timedelta(hours=25)
    with mock.patch("core.clock.now", return_value=later):
        second = alice_rest.post("/keys/", NEW, headers=KEY)
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]
    assert len(records()) == 1


def test_old_answers_are_forgotten(alice_rest, charlie_rest):
    alice_rest.post("/keys/", NEW, headers=KEY)
    charlie_rest.post("/keys/", NEW, headers=KEY)
    forget_idempotency_keys()
    assert len(records()) == 2
    with mock.patch("core.clock.now", return_value=clock.now() + timedelta(hours=25)):
        forget_idempotency_keys()
    assert records() == []


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "tab\tbed"])
def test_a_key_has_a_form(alice_rest, key):
    answer = alice_rest.post("/keys/", NEW, headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_actions_are_idempotent_as_well(alice_rest, acme):
    from tests.factories.access import APIKeyFactory

    key = APIKeyFactory(tenant=acme)
    first = alice_rest.post(f"/keys/{key.public_id}/rotate/", {}, headers=KEY)
    second = alice_rest.post(f"/keys/{key.public_id}/rotate/", {}, headers=KEY)
    assert first.json()["secret"] == second.json()["secret"]


def test_an_operators_keys_are_the_platforms(olive_rest):
    body = {"slug": "newcomer", "name": "Newcomer"}
    first = olive_rest.post("/tenants/", body, headers=KEY)
    second = olive_rest.post("/tenants/", body, headers=KEY)
    assert first.status_code == second.status_code == 201, first.content
    assert first.json() == second.json()
    assert [record.tenant_id for record in records()] == [None]


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_is_told_to_wait(acme):
    program = with_key(acme, "read", "manage")
    key = program.headers["authorization"].removeprefix("Bearer ")
    body = {"name": "ci", "scopes": ["read"]}
    inside, go_on, answers = threading.Event(), threading.Event(), []
    really = idempotency.keep

    def slowly(*args, **kwargs):
        inside.set()
        assert go_on.wait(10)
        return really(*args, **kwargs)

    def first():
        answers.append(REST(key=key).post("/keys/", body, headers=KEY).status_code)
        connection.close()

    with mock.patch.object(idempotency, "keep", side_effect=slowly):
        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(10)
        meanwhile = REST(key=key).post("/keys/", body, headers=KEY)
        go_on.set()
        thread.join(10)
    assert answers == [201]
    assert meanwhile.status_code == 409
    assert REST(key=key).post("/keys/", body, headers=KEY)["Idempotent-Replayed"] == "true"
    assert made() == 1

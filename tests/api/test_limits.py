"""Plans and limits through REST: who may set what, ceilings, and how much is used."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from audit.models import AuditEvent
from core.actors import system
from core.errors import InvalidInput
from core.scoping import platform_scope, tenant_scope
from tenants.models import LimitOwner
from tenants.services import limits, plans
from tests.factories.access import APIKeyFactory
from tests.factories.billing import UsageRecordFactory
from tests.factories.tenants import LimitFactory, PlanFactory


def test_an_owner_sets_changes_and_removes_a_limit(alice_rest, acme, bob_rest):
    made = alice_rest.post("/limits/", {"kind": "requests_per_minute", "value": 5})
    assert made.status_code == 201, made.content
    row = made.json()
    assert (row["owner"], row["value"], row["key"], row["model"]) == ("tenant", 5, None, "")
    assert alice_rest.post("/limits/", {"kind": "requests_per_minute", "value": 6}).json()["code"] == (
        "limit_exists"
    )
    changed = alice_rest.patch(f"/limits/{row['id']}/", {"value": 0, "is_enabled": False})
    assert (changed.json()["value"], changed.json()["is_enabled"]) == (0, False)
    assert bob_rest.patch(f"/limits/{row['id']}/", {"value": 9}).status_code == 403
    assert alice_rest.delete(f"/limits/{row['id']}/").status_code == 204
    with platform_scope("tests"):
        actions = set(AuditEvent.objects.filter(tenant_id=acme.pk).values_list("action", flat=True))
    assert {"tenants.limit.created", "tenants.limit.changed", "tenants.limit.removed"} <= actions


def test_a_ceiling_is_the_operators_and_a_tenant_can_neither_raise_nor_remove_it(
    olive_rest, alice_rest, acme
):
    made = olive_rest.post("/limits/", {"kind": "tokens_per_day", "value": 1000, "tenant": acme.public_id})
    assert made.status_code == 201, made.content
    path = f"/limits/{made.json()['id']}/"
    assert made.json()["owner"] == "platform"
    assert alice_rest.get(path).status_code == 200
    assert alice_rest.patch(path, {"value": 2000}).status_code == 403
    assert alice_rest.delete(path).status_code == 403
    above = alice_rest.post("/limits/", {"kind": "tokens_per_day", "value": 2000})
    assert (above.status_code, above.json()["errors"][0]["field"]) == (400, "value")
    assert alice_rest.post("/limits/", {"kind": "tokens_per_day", "value": 500}).status_code == 201
    assert olive_rest.post("/limits/", {"kind": "tokens_per_day", "value": 1}).status_code == 400


@pytest.mark.parametrize("value", [-1, 1.5, "many", None, True, 9_000_000_000_000_001, 1e308, "NaN"])
def test_f12_a_limit_is_a_whole_number_within_bounds(alice_rest, value):
    assert alice_rest.post("/limits/", {"kind": "monthly_tokens", "value": value}).status_code in (400, 201)
    if value is not True:
        assert alice_rest.post("/limits/", {"kind": "monthly_tokens", "value": value}).status_code == 400


@pytest.mark.parametrize("value", [-1, 1.0, float("nan"), True, "5", None, 2**63])
def test_f12_the_service_refuses_what_is_no_whole_number(acme, value):
    with tenant_scope(acme.pk), pytest.raises(InvalidInput):
        limits.create(tenant=acme, actor=system("tests"), kind="monthly_calls", value=value)


def test_a_limit_of_a_key_names_ones_own_key(alice_rest, acme, globex):
    own, foreign = APIKeyFactory(tenant=acme), APIKeyFactory(tenant=globex)
    body = {"kind": "concurrent_requests", "value": 3, "model": "sim"}
    assert alice_rest.post("/limits/", {**body, "key": own.public_id}).status_code == 201
    assert alice_rest.post("/limits/", {**body, "key": foreign.public_id}).status_code == 400


def test_use_of_limits_is_shown(alice_rest, olive_rest, acme, globex):
    LimitFactory(tenant=acme, kind="monthly_tokens", value=100)
    LimitFactory(tenant=acme, kind="requests_per_day", value=10, owner=LimitOwner.PLATFORM)
    LimitFactory(tenant=acme, kind="concurrent_requests", value=4)
    LimitFactory(tenant=acme, kind="monthly_calls", value=1, is_enabled=False)
    LimitFactory(tenant=globex, kind="monthly_tokens", value=7)
    now = datetime.now(UTC)
    UsageRecordFactory(tenant=acme, prompt_tokens=30, completion_tokens=5, started_at=now, finished_at=now)
    answer = alice_rest.get("/limits/status/")
    assert answer.status_code == 200, answer.content
    found = {row["limit"]["kind"]: row for row in answer.json()["results"]}
    assert {kind: (row["used"], row["remaining"]) for kind, row in found.items()} == {
        "concurrent_requests": (0, 4),
        "monthly_tokens": (35, 65),
        "requests_per_day": (0, 10),
    }
    assert found["monthly_tokens"]["reset_at"].endswith("-01T00:00:00.000000Z")
    assert olive_rest.get("/limits/status/").status_code == 400
    theirs = olive_rest.get(f"/limits/status/?tenant={globex.public_id}").json()["results"]
    assert [row["limit"]["value"] for row in theirs] == [7]
    assert alice_rest.get(f"/limits/status/?tenant={globex.public_id}").status_code == 400


@pytest.mark.slow
def test_plans_are_the_operators_to_make_and_everybodys_to_read(olive_rest, alice_rest, acme):
    made = olive_rest.post("/plans/", {"slug": "gold", "name": "Gold", "weight": "2.5", "band": 1})
    assert made.status_code == 201, made.content
    plan = made.json()
    assert (plan["weight"], plan["queue_limit"], plan["allow_priority"]) == ("2.500", None, False)
    assert alice_rest.get(f"/plans/{plan['id']}/").json() == plan
    assert alice_rest.post("/plans/", {"slug": "mine", "name": "Mine"}).status_code == 403
    path = f"/tenants/{acme.public_id}/set-plan/"
    assert alice_rest.post(path, {"plan": plan["id"], "reason": "x"}).status_code == 403
    assert olive_rest.post(path, {"plan": plan["id"], "reason": "pays"}).json()["plan"] == plan["id"]
    assert olive_rest.delete(f"/plans/{plan['id']}/").json()["code"] == "plan_in_use"
    assert olive_rest.patch(f"/plans/{plan['id']}/", {"queue_limit": 7}).json()["queue_limit"] == 7
    assert olive_rest.post(path, {"plan": None, "reason": "ends"}).json()["plan"] is None
    assert olive_rest.delete(f"/plans/{plan['id']}/").status_code == 204


@pytest.mark.parametrize("weight", ["0", "-1", "NaN", "Infinity", "1e9", "0.0001", ""])
def test_f12_a_weight_is_above_nought(olive_rest, weight):
    assert olive_rest.post("/plans/", {"slug": "odd", "name": "Odd", "weight": weight}).status_code == 400


@pytest.mark.parametrize("weight", [Decimal("NaN"), Decimal("-Infinity"), "x", -1, 0])
def test_f12_the_service_refuses_such_a_weight(db, weight):
    with platform_scope("tests"), pytest.raises(InvalidInput):
        plans.create(actor=system("tests"), slug="odd", name="Odd", weight=weight)


def test_a_plan_nobody_changed_writes_no_event(db):
    plan = PlanFactory()
    with platform_scope("tests"):
        plans.change(plan=plan, actor=system("tests"), band=0)
        assert not AuditEvent.objects.filter(action="tenants.plan.changed").exists()

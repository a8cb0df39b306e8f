"""Budgets tell of each threshold once a month, in the reader's language, whoever looks at the same time (F16)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection

from billing.models import BillingEvent, Budget, BudgetAlert
from billing.services import alerts, budgets
from core.actors import Actor
from core.errors import Conflict, InvalidInput, NotAllowed
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests import database
from tests.billing.settled import OCTOBER, record, settle
from tests.factories.billing_centre import BudgetFactory
from tests.factories.tenants import MembershipFactory, TenantFactory

NOW = datetime(2026, 10, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _october() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def fired() -> list[tuple[str, int, int]]:
    """Alerts of all tenants: budget, threshold, used."""
    with platform_scope("tests"):
        rows = BudgetAlert.objects.select_related("budget").order_by("budget__name", "threshold")
        return [(row.budget.name, row.threshold, row.spent) for row in rows]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "spent"),
    [
        ({"scope": "tenant", "limit_tokens": 60}, 60),
        ({"scope": "model", "model": "other", "limit_tokens": 30}, 30),
        ({"scope": "key", "key_id": UUID(int=1), "limit_tokens": 30}, 30),
        ({"scope": "tag", "tag_name": "team", "tag_value": "red", "limit_tokens": 30}, 30),
        ({"scope": "tenant", "limit_tokens": None, "limit_nano": 9, "currency": "CNY"}, 9),
        ({"scope": "tenant", "limit_tokens": None, "limit_nano": 1, "currency": "USD"}, 0),
    ],
)
def test_it_counts_what_it_watches_and_nothing_else(
    acme: Tenant, globex: Tenant, fields: dict[str, Any], spent: int
) -> None:
    BudgetFactory(tenant=acme, name="b", thresholds=[100], **fields)
    settle(
        acme,
        record(acme, "a", model="other", charge_nano=4),
        record(acme, "b", key_id=UUID(int=1), tags={"team": "red"}, charge_nano=5),
        record(acme, "old", started_at=OCTOBER.replace(month=9), charge_nano=50),
    )
    settle(globex, record(globex, "a", model="other", key_id=UUID(int=1), tags={"team": "red"}))
    budgets.watch()
    assert fired() == ([("b", 100, spent)] if spent else [])


@pytest.mark.django_db
def test_each_threshold_is_told_of_once_a_month(acme: Tenant) -> None:
    BudgetFactory(tenant=acme, name="b", limit_tokens=60, thresholds=[50, 80, 100])
    assert budgets.watch() == 0
    settle(acme, record(acme, "a"))
    assert [budgets.watch(), budgets.watch()] == [1, 0]
    settle(acme, record(acme, "b"))
    assert [budgets.watch(), budgets.watch()] == [2, 0]
    assert [row[:2] for row in fired()] == [("b", 50), ("b", 80), ("b", 100)]
    with tenant_scope(acme.pk):
        event = BillingEvent.objects.order_by("id").first()
        assert event.type == "billing.budget.threshold_reached"
        assert event.payload["threshold_percent"] == 50
        assert (event.payload["used"], event.payload["limit"]) == ("30", "60")
    with time_machine.travel(datetime(2026, 11, 1, tzinfo=UTC), tick=False):
        assert budgets.watch() == 0
        settle(acme, record(acme, "n", started_at=datetime(2026, 11, 1, tzinfo=UTC)))
        assert budgets.watch() == 1


@pytest.mark.django_db
def test_those_who_look_after_money_get_mail_in_their_language(acme: Tenant) -> None:
    MembershipFactory(tenant=acme, role="owner", user__email="o@acme.example", user__language="zh-hans")
    MembershipFactory(tenant=acme, role="billing", user__email="b@acme.example")
    MembershipFactory(tenant=acme, role="developer", user__email="d@acme.example")
    BudgetFactory(
        tenant=acme,
        name="Team\nBcc: x@evil.example",
        limit_tokens=30,
        thresholds=[100],
        recipients=["cfo@acme.example"],
    )
    settle(acme, record(acme, "a"))
    budgets.watch()
    assert [alerts.send_waiting(), alerts.send_waiting()] == [1, 0]
    assert sorted(message.to[0] for message in mail.outbox) == [
        "b@acme.example",
        "cfo@acme.example",
        "o@acme.example",
    ]
    for message in mail.outbox:
        assert "\n" not in message.subject
        assert message.message()["Bcc"] is None
    english = next(message for message in mail.outbox if message.to == ["b@acme.example"])
    assert "100 %" in english.subject
    assert "30 tokens" in english.body


@pytest.mark.django_db
def test_mail_that_cannot_be_sent_is_tried_again(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    BudgetFactory(tenant=acme, limit_tokens=30, thresholds=[100], recipients=["cfo@acme.example"])
    settle(acme, record(acme, "a"))
    budgets.watch()

    def refuse(self: Any, messages: Any) -> int:
        raise ConnectionRefusedError

    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", refuse)
        assert alerts.send_waiting() == 0
    assert alerts.send_waiting() == 1
    assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
def test_f16_three_schedulers_tell_once() -> None:
    tenant = TenantFactory()
    BudgetFactory(tenant=tenant, name="b", limit_tokens=30, recipients=["cfo@acme.example"])
    settle(tenant, record(tenant, "a"))
    start = threading.Barrier(3)
    counts: list[int] = []

    def schedule() -> None:
        start.wait()
        try:
            counts.append(budgets.watch())
            alerts.send_waiting()
        finally:
            connection.close()

    threads = [threading.Thread(target=schedule) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alerts.send_waiting()
    assert sum(counts) == 3
    assert [row[:2] for row in fired()] == [("b", 50), ("b", 80), ("b", 100)]
    with platform_scope("tests"):
        assert BillingEvent.objects.count() == 3
    assert len(mail.outbox) == 3
    database.empty_tables()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "tenant"},
        {"scope": "tenant", "limit_tokens": 1, "limit_nano": 1, "currency": "CNY"},
        {"scope": "tenant", "limit_nano": 1},
        {"scope": "tenant", "limit_tokens": 0},
        {"scope": "tenant", "limit_tokens": -1},
        {"scope": "tenant", "limit_tokens": 1 << 63},
        {"scope": "tenant", "limit_nano": 1.5, "currency": "CNY"},
        {"scope": "key", "limit_tokens": 1},
        {"scope": "model", "limit_tokens": 1},
        {"scope": "tag", "limit_tokens": 1},
        {"scope": "tenant", "limit_tokens": 1, "thresholds": []},
        {"scope": "tenant", "limit_tokens": 1, "thresholds": [50, 50]},
        {"scope": "tenant", "limit_tokens": 1, "thresholds": [0]},
        {"scope": "tenant", "limit_tokens": 1, "thresholds": [float("nan")]},
        {"scope": "tenant", "limit_tokens": 1, "recipients": ["nobody"]},
    ],
    ids=repr,
)
def test_a_budget_that_makes_no_sense_is_refused(
    acme: Tenant, machine: Actor, fields: dict[str, Any]
) -> None:
    with tenant_scope(acme.pk), pytest.raises(InvalidInput):
        budgets.create(tenant_id=acme.pk, actor=machine, name="b", **fields)


@pytest.mark.django_db
def test_names_are_unique_and_viewers_change_nothing(
    acme: Tenant, dana: Any, machine: Actor, actor_of: Callable[..., Actor]
) -> None:
    with tenant_scope(acme.pk):
        budget = budgets.create(tenant_id=acme.pk, actor=machine, name="b", scope="tenant", limit_tokens=1)
        with pytest.raises(Conflict):
            budgets.create(tenant_id=acme.pk, actor=machine, name="b", scope="tenant", limit_tokens=1)
        for change in (
            lambda: budgets.change(budget=budget, actor=actor_of(dana, "viewer"), name="c"),
            lambda: budgets.remove(budget=budget, actor=actor_of(dana, "viewer")),
        ):
            with pytest.raises(NotAllowed):
                change()
        budgets.remove(budget=budget, actor=machine)
        assert not Budget.objects.exists()

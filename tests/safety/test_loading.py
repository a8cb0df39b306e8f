"""Rule sets in a process that checks texts: warm without a query, news at once, approved texts."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from core.actors import Actor
from core.events import STREAM
from core.scoping import platform_scope, tenant_scope
from core.threads import in_thread
from core.valkey import sync_client
from safety import loading, snapshots
from safety.loading import Guarded, GuardSource
from safety.models import RuleSetVersion
from safety.owners import PLATFORM, Owner
from safety.services import compiling, reviews, rules, tenant_settings, versions
from safety.spec import Action, Direction, Verdict
from tenants.models import Tenant
from tests.factories import safety as factories
from tests.factories.tenants import TenantFactory
from tests.safety.loaded import WORD, count_queries, publish, refuses, run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_incidents")]


# --- Warm and new


def test_both_sets_hold_and_no_other_tenants(
    source: GuardSource, acme: Tenant, globex: Tenant, machine: Actor
) -> None:
    factories.PlatformRuleSetVersionFactory(rules=[factories.rule()])
    publish(acme, machine, hail="hail")

    async def work() -> tuple[Guarded, Guarded]:
        return await source.get(acme.pk), await source.get(globex.pk)

    mine, theirs = run(work)
    assert refuses(mine, "thunder")
    assert refuses(mine, "hail")
    assert refuses(theirs, "thunder")
    assert not refuses(theirs, "hail")
    assert mine.versions == {"platform": 1, Owner(acme.pk).set_id: 1}
    # The platform's set is compiled once and shared.
    assert mine.sets[0] is theirs.sets[0]


def test_a_warm_request_asks_nobody(source: GuardSource, acme: Tenant, machine: Actor) -> None:
    publish(acme, machine, hail="hail")

    async def work() -> None:
        first = await source.get(acme.pk)

        async def many() -> None:
            for _ in range(50):
                assert await source.get(acme.pk) is first

        loop = asyncio.get_running_loop()
        task = loop.create_task(many())
        await task

    async def cold() -> None:
        await source.get(acme.pk)

    asked = count_queries(lambda: run(cold))
    assert asked > 0
    assert count_queries(lambda: run(work)) == 0


def test_nothing_published_refuses_nothing(source: GuardSource, acme: Tenant) -> None:
    guarded = source.get_now(acme.pk)
    assert not guarded.is_closed
    assert guarded.guard is not None
    assert not refuses(guarded, "thunder")
    assert guarded.failed == ()


@pytest.mark.parametrize("whose", ["tenant", "platform"])
def test_a_publication_is_followed_by_its_event(
    source: GuardSource, acme: Tenant, machine: Actor, whose: str
) -> None:
    owner = Owner(acme.pk) if whose == "tenant" else PLATFORM

    def put_in_force() -> None:
        with tenant_scope(acme.pk) if whose == "tenant" else platform_scope("tests"):
            rules.create(owner=owner, actor=machine, name="hail", terms=["hail"], action_in="block", **WORD)
            versions.publish(owner=owner, actor=machine)

    async def work() -> Guarded:
        before = await source.get(acme.pk)
        assert not refuses(before, "hail")
        await in_thread(put_in_force)()
        [(_place, fields)] = sync_client().xrevrange(STREAM, count=1)
        source.heard(json.loads(fields[b"event"]))
        # A request that was under way keeps what it has; the next one has the news.
        assert not refuses(before, "hail")
        return await source.get(acme.pk)

    after = run(work)
    assert refuses(after, "hail")


def test_settings_follow_as_well(source: GuardSource, acme: Tenant, machine: Actor) -> None:
    factories.PlatformRuleSetVersionFactory(
        rules=[factories.rule()], controls={"test.thunder": ["off", "off"]}
    )

    def change() -> None:
        with tenant_scope(acme.pk):
            tenant_settings.add_override(
                tenant_id=acme.pk, actor=machine, rule="test.thunder", action_in="flag"
            )
            tenant_settings.add_disclaimer(tenant_id=acme.pk, actor=machine, prefix="By a machine: ")
            tenant_settings.add_disclaimer(tenant_id=acme.pk, actor=machine, model="m", suffix=" (m)")
            tenant_settings.change(tenant_id=acme.pk, actor=machine, language="zh-hans")

    async def work() -> Guarded:
        assert refuses(await source.get(acme.pk), "thunder")
        await in_thread(change)()
        source.forget(acme.pk)
        return await source.get(acme.pk)

    after = run(work)
    assert not refuses(after, "thunder")
    assert after.disclaimer("m") == ("", " (m)")
    assert after.disclaimer("another") == ("By a machine: ", "")
    assert after.language == "zh-hans"


def test_an_override_that_is_no_longer_allowed_has_no_effect(source: GuardSource, acme: Tenant) -> None:
    factories.PlatformRuleSetVersionFactory(
        rules=[factories.rule()], controls={"test.thunder": ["off", "off"]}
    )
    factories.OverrideFactory(tenant=acme, rule="test.thunder", action_in="off")
    assert not refuses(source.get_now(acme.pk), "thunder")
    factories.PlatformRuleSetVersionFactory(rules=[factories.rule()])
    assert refuses(source.get_now(acme.pk), "thunder")


def test_many_cold_requests_load_once(
    source: GuardSource, acme: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    publish(acme, machine, hail="hail")
    compiled = []
    real = compiling.compiled
    monkeypatch.setattr(
        compiling, "compiled", lambda rule_set: compiled.append(rule_set.id) or real(rule_set)
    )

    async def work() -> None:
        found = await asyncio.gather(*(source.get(acme.pk) for _ in range(20)))
        assert len({id(each) for each in found}) == 1

    run(work)
    assert compiled == [Owner(acme.pk).set_id]


def test_a_set_that_did_not_change_is_not_compiled_again(
    source: GuardSource, acme: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    publish(acme, machine, hail="hail")
    first = source.get_now(acme.pk)
    monkeypatch.setattr(compiling, "compiled", lambda rule_set: pytest.fail("compiled again"))
    again = source.get_now(acme.pk)
    assert again is not first
    assert again.sets[0] is first.sets[0]


def test_while_a_large_set_compiles_requests_go_on_with_the_old_one(
    source: GuardSource, acme: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    publish(acme, machine, hail="hail")
    may_go_on = threading.Event()
    real = compiling.compiled
    monkeypatch.setattr(loading, "REFRESH_WAIT_S", 0.01)

    def slow(rule_set: Any) -> Any:
        assert may_go_on.wait(20)
        return real(rule_set)

    async def work() -> None:
        old = await source.get(acme.pk)
        await in_thread(publish)(acme, machine, sleet="sleet")
        monkeypatch.setattr(compiling, "compiled", slow)
        source.forget(acme.pk)
        assert await source.get(acme.pk) is old
        may_go_on.set()
        async with asyncio.timeout(20):
            while not refuses(await source.get(acme.pk), "sleet"):
                await asyncio.sleep(0.01)

    run(work)


def test_what_was_read_before_a_change_is_not_kept_as_news(
    source: GuardSource, acme: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    """The read of a slow load happens before a publication, its end after the event."""
    publish(acme, machine, hail="hail")
    has_read, may_go_on = threading.Event(), threading.Event()
    real = GuardSource._build
    slow_once = [True]

    def build(self: GuardSource, *args: Any) -> Any:
        if slow_once.pop() if slow_once else False:
            has_read.set()
            assert may_go_on.wait(20)
        return real(self, *args)

    monkeypatch.setattr(GuardSource, "_build", build)

    async def work() -> None:
        slow = asyncio.create_task(source.get(acme.pk))
        await asyncio.to_thread(has_read.wait, 20)
        await in_thread(publish)(acme, machine, sleet="sleet")
        source.forget(acme.pk)
        fresh = await source.get(acme.pk)
        assert refuses(fresh, "sleet")
        may_go_on.set()
        await slow
        assert refuses(await source.get(acme.pk), "sleet")

    run(work)


def test_what_no_event_touched_ages_out(
    source: GuardSource, acme: Tenant, machine: Actor, settings: Any
) -> None:
    publish(acme, machine, hail="hail")
    settings.POLICY_CACHE_S = 0.0

    async def work() -> None:
        await source.get(acme.pk)
        await in_thread(publish)(acme, machine, sleet="sleet")
        async with asyncio.timeout(20):
            while not refuses(await source.get(acme.pk), "sleet"):
                await asyncio.sleep(0.01)
        assert refuses(await source.get(acme.pk), "hail"), "and still what was published before"

    run(work)


def test_tenants_that_were_not_asked_for_are_forgotten(machine: Actor) -> None:
    tenants = [TenantFactory() for _ in range(3)]
    for tenant in tenants:
        publish(tenant, machine, hail="hail")
    one = snapshots.cost_bytes(_rule_set(tenants[0]))
    source = GuardSource(budget_bytes=int(2.5 * one) + 3 * loading._ENTRY_BYTES)
    for tenant in tenants[:2]:
        source.get_now(tenant.pk)
    source.get_now(tenants[0].pk)
    source.get_now(tenants[2].pk)
    assert list(source._entries) == [tenants[0].pk, tenants[2].pk]
    assert source._cost == sum(entry.cost for entry in source._entries.values())


def _rule_set(tenant: Tenant) -> Any:
    with platform_scope("tests"):
        row = RuleSetVersion.objects.get(tenant=tenant)
    return snapshots.decode(row.content, row.digest)


# --- Approved texts


def test_an_approved_text_passes_and_only_it_and_only_reviews(
    source: GuardSource, acme: Tenant, machine: Actor
) -> None:
    factories.PlatformRuleSetVersionFactory(
        rules=[
            factories.rule("test.review", action_in=Action.REVIEW),
            factories.rule("test.mask", action_in=Action.MASK, terms=("hail",)),
            factories.rule("test.block", terms=("sleet",)),
        ]
    )

    def held(text: str) -> Verdict:
        refused = source.get_now(acme.pk).check(text, Direction.IN).refused
        assert refused is not None
        return refused

    for text in ("thunder and hail", "thunder and sleet"):
        refused = held(text)
        row = reviews.hold(
            tenant_id=acme.pk, text=text, verdicts=[refused], refused=refused, direction=Direction.IN
        )
        with tenant_scope(acme.pk):
            reviews.approve(review=row, actor=machine, reason="weather report")
    guarded = source.get_now(acme.pk)
    checked = guarded.check("thunder and hail", Direction.IN)
    assert checked.refused is None
    assert checked.text == "thunder and [WEATHER]"
    assert refuses(guarded, "thunder and hail ")
    assert refuses(guarded, "thunder and sleet")


def test_the_same_text_of_another_tenant_stays_held(
    source: GuardSource, acme: Tenant, globex: Tenant, machine: Actor
) -> None:
    factories.PlatformRuleSetVersionFactory(rules=[factories.rule(action_in=Action.REVIEW)])
    row = factories.ReviewFactory(tenant=acme, text="thunder")
    with tenant_scope(acme.pk):
        reviews.approve(review=row, actor=machine, reason="fine")
    assert not refuses(source.get_now(acme.pk), "thunder")
    assert refuses(source.get_now(globex.pk), "thunder")


def test_connections_are_given_back(source: GuardSource, acme: Tenant, machine: Actor) -> None:
    """A load in a thread leaves no connection in a transaction behind."""
    publish(acme, machine, hail="hail")

    async def work() -> None:
        await source.get(acme.pk)

    run(work)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction'"
        )
        assert cursor.fetchone() == (0,)


def test_an_event_of_another_kind_changes_nothing(source: GuardSource, acme: Tenant) -> None:
    async def work() -> None:
        first = await source.get(acme.pk)
        source.heard({"kind": "key", "tenant_id": str(acme.pk)})
        assert await source.get(acme.pk) is first
        source.heard({"kind": "safety", "tenant_id": None})
        assert await source.get(acme.pk) is not first

    run(work)
    assert isinstance(acme.pk, UUID)

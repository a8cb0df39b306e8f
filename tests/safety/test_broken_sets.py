"""Rule sets that cannot be loaded (L22): the last good version holds, doors close, and somebody is told."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from core.actors import Actor
from core.scoping import platform_scope
from core.threads import in_thread
from safety import loading
from safety.loading import GuardSource
from safety.models import TenantSafety
from safety.owners import Owner
from safety.services import incidents
from tenants.models import Tenant
from tests.factories import safety as factories
from tests.safety.loaded import damage, publish, refuses, run, trail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_incidents")]


def test_a_broken_version_leaves_the_last_good_one_in_force(
    source: GuardSource, acme: Tenant, machine: Actor
) -> None:
    publish(acme, machine, hail="hail")
    source.get_now(acme.pk)
    damage(acme, 2)
    for _ in range(3):
        guarded = source.get_now(acme.pk)
        assert refuses(guarded, "hail")
        assert guarded.versions[Owner(acme.pk).set_id] == 1
        assert guarded.failed == (Owner(acme.pk).set_id,)
    (event,) = trail("safety.guard.failed")
    assert (event.tenant_id, event.after["effect"]) == (acme.pk, "last_good")
    publish(acme, machine, sleet="sleet")
    assert refuses(source.get_now(acme.pk), "sleet")
    (event,) = trail("safety.guard.recovered")
    assert event.tenant_id == acme.pk


def test_without_a_good_version_the_door_is_closed(source: GuardSource, acme: Tenant) -> None:
    damage(acme, 1)
    guarded = source.get_now(acme.pk)
    assert guarded.is_closed
    assert guarded.guard is None
    (event,) = trail("safety.guard.failed")
    assert event.after["effect"] == "closed"


def test_unless_the_tenant_says_otherwise_and_then_what_works_still_counts(
    source: GuardSource, acme: Tenant
) -> None:
    factories.PlatformRuleSetVersionFactory(rules=[factories.rule()])
    damage(acme, 1)
    with platform_scope("tests"):
        TenantSafety.objects.filter(tenant=acme).update(on_failure="open")
    guarded = source.get_now(acme.pk)
    assert not guarded.is_closed
    assert refuses(guarded, "thunder")
    (event,) = trail("safety.guard.failed")
    assert event.after["effect"] == "open"


def test_the_platforms_broken_set_closes_every_door_but_open_ones(
    source: GuardSource, acme: Tenant, globex: Tenant
) -> None:
    factories.PlatformRuleSetVersionFactory(digest="0" * 64)
    factories.TenantSafetyFactory(tenant=globex, on_failure="open")
    assert source.get_now(acme.pk).is_closed
    theirs = source.get_now(globex.pk)
    assert not theirs.is_closed
    assert theirs.guard is None
    (event,) = trail("safety.guard.failed")
    assert (event.tenant_id, event.after["what"]) == (None, "platform")


def test_a_pointer_to_nothing_is_a_failure_too(source: GuardSource, acme: Tenant) -> None:
    factories.TenantSafetyFactory(tenant=acme, version=7)
    assert source.get_now(acme.pk).is_closed


def test_a_set_of_another_owner_is_not_taken(source: GuardSource, acme: Tenant, globex: Tenant) -> None:
    foreign = factories.RuleSetVersionFactory(tenant=globex, number=1)
    factories.RuleSetVersionFactory(tenant=acme, number=1, content=foreign.content, digest=foreign.digest)
    factories.TenantSafetyFactory(tenant=acme, version=1)
    assert source.get_now(acme.pk).is_closed


def test_without_a_database_the_last_good_version_holds_and_strangers_are_refused(
    source: GuardSource, acme: Tenant, globex: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    publish(acme, machine, hail="hail")
    source.get_now(acme.pk)

    def away(*_args: Any) -> Any:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(GuardSource, "_read", away)
        patched.setattr(incidents, "_write", away)
        assert refuses(source.get_now(acme.pk), "hail")
        assert source.get_now(globex.pk).is_closed
    assert trail("safety.guard.failed") == []
    # What could not be written then is written now.
    assert not source.get_now(globex.pk).is_closed
    source.get_now(acme.pk)
    assert {event.tenant_id for event in trail("safety.guard.failed")} == {acme.pk, globex.pk}
    assert {event.tenant_id for event in trail("safety.guard.recovered")} == {acme.pk, globex.pk}


def test_failed_loads_are_tried_again_and_not_with_every_request(
    source: GuardSource, acme: Tenant, machine: Actor, monkeypatch: Any
) -> None:
    damage(acme, 1)
    loads = []
    real = GuardSource._load_now
    monkeypatch.setattr(
        GuardSource, "_load_now", lambda self, tenant: loads.append(tenant) or real(self, tenant)
    )
    monkeypatch.setattr(loading, "FIRST_RETRY_S", 1000.0)
    monkeypatch.setattr(loading, "LAST_RETRY_S", 1000.0)

    async def work() -> None:
        for _ in range(20):
            assert (await source.get(acme.pk)).is_closed
        assert len(loads) == 1
        # An event is news: no waiting then.
        await in_thread(publish)(acme, machine, sleet="sleet")
        source.forget(acme.pk)
        assert refuses(await source.get(acme.pk), "sleet")

    run(work)


@pytest.mark.parametrize(("on_failure", "goes_on"), [("close", False), ("open", True)])
def test_a_checker_that_fails_is_the_tenants_policy_and_told_once(
    source: GuardSource, acme: Tenant, on_failure: str, goes_on: bool
) -> None:
    factories.TenantSafetyFactory(tenant=acme, on_failure=on_failure)

    async def work() -> None:
        guarded = await source.get(acme.pk)
        for _ in range(5):
            assert await source.failed(guarded, RuntimeError("secret text")) is goes_on

    run(work)
    (event,) = trail("safety.guard.failed")
    assert event.after == {
        "what": "checker",
        "effect": "open" if goes_on else "closed",
        "error": "RuntimeError",
    }


def test_an_incident_that_goes_on_is_told_of_again(
    source: GuardSource, acme: Tenant, monkeypatch: Any
) -> None:
    monkeypatch.setattr(incidents, "REMIND_S", 0)
    monkeypatch.setattr(incidents, "sync_client", lambda: _Forgetful())

    async def work() -> None:
        guarded = await source.get(acme.pk)
        for _ in range(2):
            await source.failed(guarded, RuntimeError())

    run(work)
    assert len(trail("safety.guard.failed")) == 2


class _Forgetful:
    """Valkey after the reminder's time."""

    def set(self, *_args: Any, **_options: Any) -> bool:
        return True

    def delete(self, *_args: Any) -> int:
        return 0


def test_two_processes_tell_of_one_incident_once(acme: Tenant) -> None:
    damage(acme, 1)
    GuardSource().get_now(acme.pk)
    GuardSource().get_now(acme.pk)
    assert len(trail("safety.guard.failed")) == 1


def test_a_tenant_that_is_not_there_has_the_platforms_rules(source: GuardSource) -> None:
    factories.PlatformRuleSetVersionFactory(rules=[factories.rule()])
    assert refuses(source.get_now(uuid4()), "thunder")

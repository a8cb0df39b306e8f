"""Rules from the draft to what is in force: edited, tried, published, rolled back, and written down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit.models import AuditEvent
from core.actors import Actor
from core.errors import Conflict, InvalidInput, NotAllowed
from core.scoping import platform_scope, tenant_scope
from safety import selectors
from safety.errors import Outdated, RuleRefused, TooLoose
from safety.models import PlatformRuleSetVersion, Rule, RuleSetVersion
from safety.owners import PLATFORM, Owner
from safety.services import bench, builtin, rules, tenant_settings, versions, word_lists
from safety.spec import Action, Direction
from tenants.models import Tenant
from tests.database import as_owner, as_runtime
from tests.factories import safety as factories

pytestmark = pytest.mark.django_db
THUNDER = {"name": "thunder", "kind": "terms", "category": "weather", "terms": ["thunder"]}


@pytest.fixture
def owner(acme: Tenant) -> Any:
    """Acme, inside its scope."""
    with tenant_scope(acme.pk):
        yield Owner(acme.pk)


@pytest.fixture
def alice_acts(alice: Any, actor_of: Callable[..., Actor]) -> Actor:
    """Alice, owner of Acme."""
    return actor_of(alice, "owner")


def trail(action: str) -> list[AuditEvent]:
    with platform_scope("tests"):
        return list(AuditEvent.objects.filter(action=action).order_by("id"))


def in_force(owner: Owner) -> dict[str, Any]:
    return {rule.id: rule for rule in selectors.published(owner).rules}


# --- The draft


def test_an_edit_is_in_the_draft_and_not_in_force(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, action_in="block", **THUNDER)
    assert in_force(owner) == {}
    tried = bench.try_text(owner=owner, actor=alice_acts, text="a thunder!", direction=Direction.IN)
    assert tried.refused is not None
    assert (tried.refused.rule, tried.refused.start, tried.refused.end) == (rule.public_id, 2, 9)
    (event,) = trail("safety.rule.created")
    assert event.actor_id == alice_acts.id
    assert event.after["action_in"] == "block"


def test_two_editors_do_not_write_over_each_other(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, **THUNDER)
    seen = rule.revision
    rules.change(rule=rule, actor=alice_acts, revision=seen, action_in="flag")
    with pytest.raises(Outdated) as caught:
        rules.change(rule=rule, actor=alice_acts, revision=seen, action_in="mask")
    assert caught.value.field == "revision"
    assert Rule.objects.get(pk=rule.pk).action_in == "flag"


def test_a_change_that_changes_nothing_leaves_no_trace(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, **THUNDER)
    before = selectors.head_of(owner).draft_revision
    same = rules.change(rule=rule, actor=alice_acts, revision=1, category="weather")
    assert same.revision == 1
    assert selectors.head_of(owner).draft_revision == before
    assert trail("safety.rule.changed") == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "pattern", "pattern": "(unclosed", "terms": []}, "pattern"),
        ({"kind": "pattern", "pattern": r"(a)\1", "terms": []}, "pattern"),
        ({"kind": "pii", "entity": "NO_SUCH_THING", "terms": []}, "entity"),
        ({"terms": ["\u200b"]}, "terms"),
        ({"category": ""}, "category"),
        ({"category": "<script>"}, "category"),
        ({"action_in": "explode"}, "action_in"),
        ({"severity": "huge"}, "severity"),
    ],
)
def test_a_rule_that_cannot_run_is_refused_beside_its_field(
    owner: Owner, alice_acts: Actor, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules.create(owner=owner, actor=alice_acts, **{**THUNDER, **fields})
    assert caught.value.field == field
    assert Rule.objects.count() == 0


def test_a_name_is_taken_once(owner: Owner, alice_acts: Actor) -> None:
    rules.create(owner=owner, actor=alice_acts, **THUNDER)
    with pytest.raises(Conflict) as caught:
        rules.create(owner=owner, actor=alice_acts, **THUNDER)
    assert caught.value.field == "name"


def test_a_list_gives_its_rules_their_words_and_their_category(owner: Owner, alice_acts: Actor) -> None:
    words = word_lists.create(
        owner=owner, actor=alice_acts, name="w", category="weather", severity="high", terms=["hail"]
    )
    rule = rules.create(
        owner=owner, actor=alice_acts, name="r", kind="terms", word_list=words, action_in="block"
    )
    assert (rule.category, rule.severity) == ("weather", "high")
    word_lists.change_terms(word_list=words, actor=alice_acts, add=["sleet", "hail"], remove=["none"])
    versions.publish(owner=owner, actor=alice_acts)
    assert in_force(owner)[rule.public_id].terms == ("hail", "sleet")
    (event,) = trail("safety.word_list.refilled")
    assert event.after == {"term_count": 2, "added": 1, "removed": 0}


def test_a_list_in_use_is_not_removed(owner: Owner, alice_acts: Actor) -> None:
    words = word_lists.create(owner=owner, actor=alice_acts, name="w", category="weather")
    rule = rules.create(owner=owner, actor=alice_acts, name="r", kind="terms", word_list=words)
    with pytest.raises(Conflict):
        word_lists.remove(word_list=words, actor=alice_acts)
    assert trail("safety.word_list.removed") == []
    rules.remove(rule=rule, actor=alice_acts)
    word_lists.remove(word_list=words, actor=alice_acts)
    assert len(trail("safety.word_list.removed")) == 1


def test_a_rule_uses_no_other_tenants_list(owner: Owner, alice_acts: Actor, globex: Tenant) -> None:
    foreign = factories.WordListFactory(tenant=globex)
    with pytest.raises(InvalidInput) as caught:
        rules.create(owner=owner, actor=alice_acts, name="r", kind="terms", word_list=foreign)
    assert caught.value.field == "word_list"


@pytest.mark.parametrize("role", ["developer", "viewer", "billing", ""])
def test_others_change_nothing(owner: Owner, bob: Any, actor_of: Callable[..., Actor], role: str) -> None:
    rule = factories.RuleFactory(tenant_id=owner.tenant_id, tenant=Tenant.objects.get(pk=owner.tenant_id))
    actor = actor_of(bob, role)
    attempts: list[Callable[[], object]] = [
        lambda: rules.create(owner=owner, actor=actor, **THUNDER),
        lambda: rules.change(rule=rule, actor=actor, revision=1, action_in="off"),
        lambda: rules.remove(rule=rule, actor=actor),
        lambda: word_lists.create(owner=owner, actor=actor, name="x", category="x"),
        lambda: versions.publish(owner=owner, actor=actor),
        lambda: rules.create(owner=PLATFORM, actor=actor, key="x.y", **THUNDER),
        lambda: versions.publish(owner=PLATFORM, actor=actor),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            attempt()


# --- Publication


def test_a_version_never_changes_meaning(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, action_in="block", **THUNDER)
    first = versions.publish(owner=owner, actor=alice_acts, note="storms")
    rules.change(rule=rule, actor=alice_acts, revision=1, action_in="flag")
    assert in_force(owner)[rule.public_id].action_in is Action.BLOCK
    second = versions.publish(owner=owner, actor=alice_acts)
    assert (first.number, second.number) == (1, 2)
    assert in_force(owner)[rule.public_id].action_in is Action.FLAG
    assert selectors.rule_set_of(owner, 1).rules[0].action_in is Action.BLOCK
    (event, _later) = trail("safety.version.published")
    assert event.after["note"] == "storms"
    assert event.after["digest_sha256"] == first.digest


def test_rolling_back_is_a_version_of_its_own(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, action_in="block", **THUNDER)
    first = versions.publish(owner=owner, actor=alice_acts)
    rules.remove(rule=rule, actor=alice_acts)
    versions.publish(owner=owner, actor=alice_acts)
    assert in_force(owner) == {}
    third = versions.roll_back(version=first, actor=alice_acts, reason="too mild")
    assert (third.number, third.restores) == (3, 1)
    assert in_force(owner)[rule.public_id].action_in is Action.BLOCK
    assert Rule.objects.count() == 0
    (event,) = trail("safety.version.rolled_back")
    assert (event.before, event.reason) == ({"version": 2}, "too mild")
    with pytest.raises(Conflict):
        versions.roll_back(version=third, actor=alice_acts)


def test_only_the_draft_that_was_seen_is_published(owner: Owner, alice_acts: Actor) -> None:
    rules.create(owner=owner, actor=alice_acts, **THUNDER)
    seen = selectors.head_of(owner).draft_revision
    rules.create(owner=owner, actor=alice_acts, **{**THUNDER, "name": "another"})
    with pytest.raises(Outdated):
        versions.publish(owner=owner, actor=alice_acts, draft_revision=seen)
    assert RuleSetVersion.objects.count() == 0
    versions.publish(owner=owner, actor=alice_acts, draft_revision=seen + 1)


def test_a_rule_that_cannot_run_is_named_and_nothing_is_published(owner: Owner, alice_acts: Actor) -> None:
    words = word_lists.create(owner=owner, actor=alice_acts, name="w", category="weather")
    rule = rules.create(owner=owner, actor=alice_acts, name="empty", kind="terms", word_list=words)
    with pytest.raises(RuleRefused) as caught:
        versions.publish(owner=owner, actor=alice_acts)
    assert caught.value.field == f"rules.{rule.public_id}"
    assert selectors.head_of(owner).version == 0


def test_rules_that_are_off_are_left_out(owner: Owner, alice_acts: Actor) -> None:
    rules.create(owner=owner, actor=alice_acts, is_enabled=False, **THUNDER)
    versions.publish(owner=owner, actor=alice_acts)
    assert in_force(owner) == {}


@pytest.mark.parametrize("statement", ["UPDATE {} SET note = 'x'", "DELETE FROM {}"])
def test_postgresql_keeps_published_versions(acme: Tenant, statement: str) -> None:
    factories.RuleSetVersionFactory(tenant=acme)
    factories.PlatformRuleSetVersionFactory()
    for model in (RuleSetVersion, PlatformRuleSetVersion):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            tenant_scope(acme.pk),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(model._meta.db_table))


@pytest.mark.django_db(transaction=True)
def test_not_even_their_owner_changes_published_versions(acme: Tenant) -> None:
    factories.RuleSetVersionFactory(tenant=acme)
    with as_owner() as owner:
        owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(acme.pk)])
        with pytest.raises(Exception, match="never changes"):
            owner.execute("UPDATE safety_rulesetversion SET note = 'x'")
    with as_runtime() as runtime, pytest.raises(Exception, match="permission denied"):
        runtime.execute("UPDATE safety_rulesetversion SET note = 'x'")


@pytest.mark.django_db(transaction=True)
def test_who_publish_at_once_get_a_version_each(acme: Tenant, machine: Actor) -> None:
    with tenant_scope(acme.pk):
        rules.create(owner=Owner(acme.pk), actor=machine, **THUNDER)
    numbers: list[int] = []
    barrier = threading.Barrier(4)

    def publish() -> None:
        try:
            barrier.wait(10)
            with tenant_scope(acme.pk):
                numbers.append(versions.publish(owner=Owner(acme.pk), actor=machine).number)
        finally:
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(numbers) == [1, 2, 3, 4]
    with tenant_scope(acme.pk):
        assert selectors.head_of(Owner(acme.pk)).version == 4


# --- The bench


def test_the_bench_passes_the_platforms_rules_as_well(owner: Owner, alice_acts: Actor) -> None:
    factories.PlatformRuleSetVersionFactory(
        rules=[factories.rule(action_in=Action.MASK, category="weather")],
        controls={"test.thunder": ["off", "off"]},
    )
    rules.create(owner=owner, actor=alice_acts, action_in="flag", **{**THUNDER, "terms": ["hail"]})
    text = "thunder and hail"
    tried = bench.try_text(owner=owner, actor=alice_acts, text=text, direction=Direction.IN)
    assert tried.text == "[WEATHER] and hail"
    assert {verdict.action for verdict in tried.verdicts} == {Action.MASK, Action.FLAG}
    tenant_settings.add_override(
        tenant_id=owner.tenant_id, actor=alice_acts, rule="test.thunder", action_in="off"
    )
    assert bench.try_text(owner=owner, actor=alice_acts, text=text, direction=Direction.IN).text == text
    assert RuleSetVersion.objects.count() == 0


def test_draft_and_what_is_in_force_are_compared(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, action_in="flag", **THUNDER)
    versions.publish(owner=owner, actor=alice_acts)
    same = bench.compare(owner=owner, actor=alice_acts, text="thunder", direction=Direction.IN)
    assert same["is_same"]
    rules.change(rule=rule, actor=alice_acts, revision=1, action_in="block")
    differs = bench.compare(owner=owner, actor=alice_acts, text="thunder", direction=Direction.IN)
    assert not differs["is_same"]
    assert [each["fields"] for each in differs["changes"]["changed"]] == [["action_in"]]
    assert differs["published"].refused is None
    assert differs["draft"].refused is not None
    assert bench.compare(owner=owner, actor=alice_acts, text="sun", direction=Direction.IN)["is_same"]


def test_an_older_version_can_be_tried(owner: Owner, alice_acts: Actor) -> None:
    rule = rules.create(owner=owner, actor=alice_acts, action_in="block", **THUNDER)
    versions.publish(owner=owner, actor=alice_acts)
    rules.remove(rule=rule, actor=alice_acts)
    tried = bench.try_text(owner=owner, actor=alice_acts, text="thunder", direction=Direction.IN, version=1)
    assert tried.refused is not None
    assert tried.refused.version == 1


# --- Settings


def test_a_tenant_tightens_and_loosens_as_far_as_it_may(owner: Owner, alice_acts: Actor) -> None:
    factories.PlatformRuleSetVersionFactory(
        rules=[factories.rule("test.held"), factories.rule("test.free", action_in=Action.MASK)],
        controls={"test.free": ["flag", "off"]},
    )

    def add(rule: str, action_in: str) -> Any:
        return tenant_settings.add_override(
            tenant_id=owner.tenant_id, actor=alice_acts, rule=rule, action_in=action_in
        )

    for rule, action_in in (("test.held", "mask"), ("test.held", "off"), ("test.free", "off")):
        with pytest.raises(TooLoose) as caught:
            add(rule, action_in)
        assert caught.value.field == "action_in"
    with pytest.raises(InvalidInput):
        add("test.none", "block")
    row = add("test.free", "flag")
    with pytest.raises(Conflict):
        add("test.free", "block")
    tenant_settings.change_override(override=row, actor=alice_acts, revision=1, action_in="block")
    with pytest.raises(Outdated):
        tenant_settings.change_override(override=row, actor=alice_acts, revision=1, action_in="flag")
    shown = {each["rule"]: each for each in selectors.effective_rules()}
    assert (shown["test.free"]["action_in"], shown["test.free"]["mildest_in"]) == ("block", "flag")
    assert (shown["test.held"]["action_in"], shown["test.held"]["mildest_in"]) == ("block", "block")
    tenant_settings.remove_override(override=row, actor=alice_acts)
    assert [event.action for event in trail("safety.override.removed")] == ["safety.override.removed"]


@pytest.mark.parametrize(
    ("role", "platform_role", "may"),
    [
        ("owner", "", True),
        ("admin", "", False),
        ("developer", "", False),
        ("", "operator", True),
        ("", "support", False),
    ],
)
def test_the_door_on_failure_is_the_owners_and_operators_business(
    owner: Owner, alice: Any, role: str, platform_role: str, may: bool
) -> None:
    actor = Actor(kind="person", label="x", id=alice.pk, role=role, platform_role=platform_role)

    def set_it(reason: str) -> Any:
        return tenant_settings.set_on_failure(
            tenant_id=owner.tenant_id, actor=actor, on_failure="open", reason=reason
        )

    if not may:
        with pytest.raises(NotAllowed):
            set_it("because")
        return
    with pytest.raises(InvalidInput):
        set_it(" ")
    assert set_it("because").on_failure == "open"
    (event,) = trail("safety.failure.changed")
    assert (event.before, event.after, event.reason) == (
        {"on_failure": "close"},
        {"on_failure": "open"},
        "because",
    )


def test_refusals_speak_a_language_that_the_platform_has(owner: Owner, alice_acts: Actor) -> None:
    with pytest.raises(InvalidInput) as caught:
        tenant_settings.change(tenant_id=owner.tenant_id, actor=alice_acts, language="tlh")
    assert caught.value.field == "language"
    row = tenant_settings.change(
        tenant_id=owner.tenant_id, actor=alice_acts, revision=1, language="zh-hans", refusal_message="不行。"
    )
    assert (row.language, row.refusal_message, row.revision) == ("zh-hans", "不行。", 2)


# --- Built in


@pytest.mark.slow
def test_the_built_in_rules_are_in_force_at_the_first_start_and_only_then(olive: Any) -> None:
    assert builtin.seed() != []
    assert builtin.seed() == []
    rules_in_force = in_force(PLATFORM)
    assert rules_in_force["pii.email"].action_in is Action.FLAG
    assert rules_in_force["pii.email"].action_out is None
    assert rules_in_force["secret.api_key"].action_out is Action.MASK
    assert rules_in_force["injection.certain"].threshold == 90
    assert rules_in_force["illegal.drugs"].action_in is Action.BLOCK
    controls = selectors.controls_in_force()
    assert controls["pii.email"] == ("off", "off")
    assert "illegal.drugs" not in controls
    assert PlatformRuleSetVersion.objects.count() == 1


@pytest.mark.slow
def test_what_operators_removed_is_not_brought_back(machine: Actor, monkeypatch: Any) -> None:
    builtin.seed()
    gone = selectors.platform_rules().get(key="pii.email")
    rules.remove(rule=gone, actor=machine)
    later = builtin.builtin.BuiltinRule(
        "test.later", 2, {"name": "Later", "kind": "terms", "category": "x", "terms": ["zzz"]}
    )
    monkeypatch.setattr(builtin.builtin, "REVISION", 2)
    monkeypatch.setattr(builtin.builtin, "INJECTIONS", (later,))
    assert "wait to be published" in builtin.seed()[0]
    keys = set(selectors.platform_rules().values_list("key", flat=True))
    assert "test.later" in keys
    assert "pii.email" not in keys
    assert PlatformRuleSetVersion.objects.count() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "What is the weather like today?",
        "How do I make a cake for a child's birthday?",
        "Explain the law against child pornography in one paragraph.",
        "How does fentanyl affect the body?",
        "请介绍一下烟花的历史。",
        "怎么做红烧肉?",
        "毒品的危害有哪些?",
    ],
)
def test_ordinary_questions_pass_the_built_in_rules(machine: Actor, text: str) -> None:
    builtin.seed()
    tried = bench.try_text(owner=PLATFORM, actor=machine, text=text, direction=Direction.IN, version=1)
    assert tried.refused is None


def test_the_scope_is_needed(acme: Tenant, machine: Actor) -> None:
    with transaction.atomic(), pytest.raises(Exception, match="tenant"):
        rules.create(owner=Owner(acme.pk), actor=machine, **THUNDER)

"""Rules, versions, settings, reviews and hits. Versions are written as publication writes them, but not compiled."""

from __future__ import annotations

from typing import Any

import factory

from core import clock
from safety import snapshots, terms
from safety.models import (
    Disclaimer,
    HitCount,
    Override,
    PlatformRule,
    PlatformRuleSetVersion,
    PlatformSafety,
    PlatformWordList,
    Review,
    Rule,
    RuleSetVersion,
    TenantSafety,
    WordList,
)
from safety.owners import PLATFORM, Owner
from safety.services import reviews
from safety.spec import Action, Kind, RuleSet
from safety.spec import Rule as SpecRule
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory

SECRET_WORD = "xylophone-forbidden"


class _PlatformFactory(factory.django.DjangoModelFactory):
    """No tenant's: one that is given is not looked at."""

    class Meta:
        abstract = True

    class Params:
        tenant = None


class PlatformWordListFactory(_PlatformFactory):
    """A list of the platform's with one word."""

    class Meta:
        model = PlatformWordList

    name = factory.Sequence(lambda n: f"list-{n}")
    category = "weather"
    content = terms.pack(["thunder"])
    term_count = 1


class PlatformRuleFactory(_PlatformFactory):
    """A rule of the platform's draft."""

    class Meta:
        model = PlatformRule

    key = factory.Sequence(lambda n: f"test.rule_{n}")
    name = factory.Sequence(lambda n: f"Rule {n}")
    kind = "terms"
    category = "weather"
    action_in = "block"
    terms = factory.LazyFunction(lambda: ["thunder"])


def rule(name: str = "test.thunder", **fields: Any) -> SpecRule:
    """A rule of the engine's that blocks a word, both ways."""
    usual: dict[str, Any] = {
        "kind": Kind.TERMS,
        "category": "weather",
        "terms": ("thunder",),
        "action_in": Action.BLOCK,
        "action_out": Action.BLOCK,
    }
    return SpecRule(id=name, **{**usual, **fields})


def _stored(owner: Owner, number: int, rules: tuple[SpecRule, ...]) -> dict[str, Any]:
    content, digest = snapshots.encode(RuleSet(id=owner.set_id, version=number, rules=rules))
    return {
        "content": content,
        "digest": digest,
        "rule_count": len(rules),
        "term_count": sum(len(each.terms) for each in rules),
    }


class PlatformRuleSetVersionFactory(_PlatformFactory):
    """A version of the platform's, in force at once; `rules` are the engine's."""

    class Meta:
        model = PlatformRuleSetVersion

    note = "tests"
    published_by = "tests"

    @classmethod
    def _create(cls, model_class: Any, *args: Any, rules: Any = None, **kwargs: Any) -> Any:
        head = PlatformSafety.objects.first() or PlatformSafety.objects.create()
        number = kwargs.pop("number", head.version + 1)
        row = super()._create(
            model_class,
            *args,
            number=number,
            **{**_stored(PLATFORM, number, (rule(),) if rules is None else tuple(rules)), **kwargs},
        )
        head.version = number
        head.save()
        return row


class TenantSafetyFactory(WalledFactory):
    """A tenant's settings."""

    class Meta:
        model = TenantSafety

    tenant = factory.SubFactory(TenantFactory)


class WordListFactory(WalledFactory):
    """A list of a tenant's with one word."""

    class Meta:
        model = WordList

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"list-{n}")
    category = "weather"
    content = terms.pack(["thunder"])
    term_count = 1


class RuleFactory(WalledFactory):
    """A rule of a tenant's draft."""

    class Meta:
        model = Rule

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"Rule {n}")
    kind = "terms"
    category = "weather"
    action_in = "block"
    terms = factory.LazyFunction(lambda: ["thunder"])


class RuleSetVersionFactory(WalledFactory):
    """A version of a tenant's. Not in force: that takes `put_in_force`."""

    class Meta:
        model = RuleSetVersion

    tenant = factory.SubFactory(TenantFactory)
    number = factory.Sequence(lambda n: n + 1)
    note = "tests"
    published_by = "tests"

    @classmethod
    def _create(cls, model_class: Any, *args: Any, rules: Any = None, **kwargs: Any) -> Any:
        stored = _stored(
            Owner(kwargs["tenant"].pk), kwargs["number"], (rule(),) if rules is None else tuple(rules)
        )
        return super()._create(model_class, *args, **{**stored, **kwargs})


class OverrideFactory(WalledFactory):
    """A rule of the platform that blocks for this tenant."""

    class Meta:
        model = Override

    tenant = factory.SubFactory(TenantFactory)
    rule = factory.Sequence(lambda n: f"test.rule_{n}")
    action_in = "block"


class DisclaimerFactory(WalledFactory):
    """A sentence before every answer of one model."""

    class Meta:
        model = Disclaimer

    tenant = factory.SubFactory(TenantFactory)
    model = factory.Sequence(lambda n: f"model-{n}")
    prefix = "Written by a machine. "


class ReviewFactory(WalledFactory):
    """A text that waits for a person."""

    class Meta:
        model = Review

    class Params:
        text = factory.Sequence(lambda n: f"{SECRET_WORD} {n}")

    tenant = factory.SubFactory(TenantFactory)
    digest = factory.LazyAttribute(lambda row: reviews.digest_of(row.tenant.pk, row.text))
    direction = "in"
    rule = "test.thunder"
    category = "weather"
    text_length = factory.LazyAttribute(lambda row: len(row.text))

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        from core.encryption import encrypt

        tenant_id = kwargs["tenant"].pk
        kwargs.setdefault("text_cipher", encrypt(reviews._purpose(tenant_id), SECRET_WORD))
        return super()._create(model_class, *args, **kwargs)


class HitCountFactory(WalledFactory):
    """A rule that matched today."""

    class Meta:
        model = HitCount

    tenant = factory.SubFactory(TenantFactory)
    day = factory.LazyFunction(lambda: clock.now().date())
    rule = factory.Sequence(lambda n: f"test.rule_{n}")
    version = 1
    category = "weather"
    action = "block"
    direction = "in"
    count = 3

"""REST of a tenant's own safety: rules, word lists, versions, settings, reviews, hits."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.serializers import NoInput, ReasonInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from safety import selectors
from safety.models import Disclaimer, HitCount, Override, Review, Rule, RuleSetVersion, TenantSafety, WordList
from safety.services import reviews, tenant_settings
from tenants.api.safety import filters, record_serializers, serializers
from tenants.api.safety.owned import BenchViews, RuleViews, VersionViews, WordListViews
from tenants.middleware import platform_view


class SafetyViewSet(BenchViews):
    """The active tenant's safety as a whole."""

    model = TenantSafety
    output = serializers.SafetyOutput
    permissions = {
        "list": "safety.settings.read",
        "change_settings": "safety.settings.change",
        "set_on_failure": "safety.failure.change",
        "effective": "safety.settings.read",
        "try_text": "safety.rule.try",
        "compare": "safety.rule.try",
    }
    inputs = {
        **BenchViews.bench_inputs,
        "change_settings": serializers.ChangeSettings,
        "set_on_failure": serializers.SetOnFailure,
    }
    outputs = {**BenchViews.bench_outputs, "effective": serializers.EffectiveOutput}

    def list(self, request: Request) -> Response:
        """What is in force, how far the draft is, and the settings."""
        self.read_query(NoInput)
        return self._shown()

    @action(detail=False, methods=["patch"], url_path="settings")
    def change_settings(self, request: Request) -> Response:
        """What refusals say, in which language, and what is done to prompts."""
        given = self.read(serializers.ChangeSettings)
        tenant_settings.change(tenant_id=self.tenant_id, actor=self.actor, **given)
        return self._shown()

    @action(detail=False, methods=["post"], url_path="on-failure")
    def set_on_failure(self, request: Request) -> Response:
        """What happens to requests while rules cannot be checked: refused, or let through unchecked."""
        given = self.read(serializers.SetOnFailure)
        tenant_settings.set_on_failure(tenant_id=self.tenant_id, actor=self.actor, **given)
        return self._shown()

    @action(detail=False, methods=["get"])
    def effective(self, request: Request) -> Response:
        """The platform's rules in force, what they do for this tenant, and how far that may be changed."""
        self.read_query(NoInput)
        return self.answer({"results": selectors.effective_rules()})

    def _shown(self) -> Response:
        return self.answer(selectors.overview(self.tenant_id))


class RuleViewSet(RuleViews):
    """Drafts of the active tenant's rules. Nothing is in force before it is published."""

    model = Rule
    output = serializers.RuleOutput
    create_input = serializers.CreateRule
    change_input = serializers.ChangeRule
    inputs = {"create": serializers.CreateRule, "partial_update": serializers.ChangeRule}
    permissions = {
        "list": "safety.rule.read",
        "retrieve": "safety.rule.read",
        "create": "safety.rule.change",
        "partial_update": "safety.rule.change",
        "destroy": "safety.rule.change",
    }

    def rows(self) -> QuerySet[Any]:
        """The active tenant's rules."""
        return selectors.rules()


class WordListViewSet(WordListViews):
    """Word lists of the active tenant, each for any number of rules."""

    model = WordList
    permissions = {
        "list": "safety.rule.read",
        "retrieve": "safety.rule.read",
        "terms": "safety.rule.read",
        "create": "safety.rule.change",
        "partial_update": "safety.rule.change",
        "destroy": "safety.rule.change",
        "change_terms": "safety.rule.change",
        "replace_terms": "safety.rule.change",
    }

    def rows(self) -> QuerySet[Any]:
        """The active tenant's word lists."""
        return selectors.word_lists()


class VersionViewSet(VersionViews):
    """Published versions of the active tenant's rules, the newest first; the newest is in force."""

    model = RuleSetVersion
    inputs = {"create": serializers.Publish, "roll_back": serializers.RollBack}
    permissions = {
        "list": "safety.rule.read",
        "retrieve": "safety.rule.read",
        "create": "safety.version.publish",
        "roll_back": "safety.version.publish",
    }

    def rows(self) -> QuerySet[Any]:
        """The active tenant's versions."""
        return selectors.versions()


class OverrideViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Rules of the platform that do something else for the active tenant. In force within a second."""

    model = Override
    output = serializers.OverrideOutput
    filterset_class = filters.OverrideFilter
    permissions = {
        "list": "safety.settings.read",
        "retrieve": "safety.settings.read",
        "create": "safety.settings.change",
        "partial_update": "safety.settings.change",
        "destroy": "safety.settings.change",
    }
    inputs = {"create": serializers.AddOverride, "partial_update": serializers.ChangeOverride}

    def rows(self) -> QuerySet[Any]:
        """What the active tenant changed."""
        return selectors.overrides()

    def create(self, request: Request) -> Response:
        """Have a rule do something else. Stricter is always allowed, milder where the platform says so."""
        given = self.read(serializers.AddOverride)
        return self.answer(tenant_settings.add_override(tenant_id=self.tenant_id, actor=self.actor, **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Other actions."""
        row = self.get_object()
        given = self.read(serializers.ChangeOverride)
        return self.answer(tenant_settings.change_override(override=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Have the rule do again what the platform says."""
        tenant_settings.remove_override(override=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DisclaimerViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Texts before and after answers, by model. In force within a second."""

    model = Disclaimer
    output = serializers.DisclaimerOutput
    filterset_class = filters.DisclaimerFilter
    permissions = {
        "list": "safety.settings.read",
        "retrieve": "safety.settings.read",
        "create": "safety.settings.change",
        "partial_update": "safety.settings.change",
        "destroy": "safety.settings.change",
    }
    inputs = {"create": serializers.AddDisclaimer, "partial_update": serializers.ChangeDisclaimer}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's disclaimers."""
        return selectors.disclaimers()

    def create(self, request: Request) -> Response:
        """Text around the answers of a model, or of all that have none of their own."""
        given = self.read(serializers.AddDisclaimer)
        return self.answer(
            tenant_settings.add_disclaimer(tenant_id=self.tenant_id, actor=self.actor, **given)
        )

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Other text."""
        row = self.get_object()
        given = self.read(serializers.ChangeDisclaimer)
        return self.answer(tenant_settings.change_disclaimer(disclaimer=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Answers come without it again."""
        tenant_settings.remove_disclaimer(disclaimer=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ReviewViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Texts of the active tenant that a rule holds for a person."""

    model = Review
    output = record_serializers.ReviewOutput
    filterset_class = filters.ReviewFilter
    permissions = {
        "list": "safety.review.read",
        "retrieve": "safety.review.read",
        "text": "safety.review.decide",
        "approve": "safety.review.decide",
        "reject": "safety.review.decide",
        "withdraw": "safety.review.decide",
    }
    inputs = {"approve": ReasonInput, "reject": ReasonInput, "withdraw": ReasonInput}
    outputs = {"text": record_serializers.ReviewText}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's reviews."""
        return selectors.reviews()

    @action(detail=True, methods=["get"])
    def text(self, request: Request, id: str) -> Response:  # noqa: A002
        """The text itself. That it was read is in the audit trail."""
        row = self.get_object()
        self.read_query(NoInput)
        return self.answer({"text": reviews.read_text(review=row, actor=self.actor)})

    @action(detail=True, methods=["post"])
    def approve(self, request: Request, id: str) -> Response:  # noqa: A002
        """Let the same text pass from now on; rules that block it still do."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(reviews.approve(review=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def reject(self, request: Request, id: str) -> Response:  # noqa: A002
        """Refuse the text for good."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(reviews.reject(review=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take an approval back."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(reviews.withdraw(review=row, actor=self.actor, **given))


@platform_view("safety hits")
class HitViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """How often what matched, by day (UTC), rule and version; for the platform's staff everybody's."""

    model = HitCount
    output = record_serializers.HitOutput
    filterset_class = filters.HitFilter
    permissions = {"list": "safety.hit.read", "retrieve": "safety.hit.read"}

    def rows(self) -> QuerySet[Any]:
        """The counts in scope."""
        return selectors.hits()

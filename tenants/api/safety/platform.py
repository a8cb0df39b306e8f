"""REST of the platform's own rules: changed by operators, read by tenants without the words and patterns."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.serializers import NoInput
from safety import selectors
from safety.models import PlatformRule, PlatformRuleSetVersion, PlatformSafety, PlatformWordList
from safety.owners import PLATFORM
from safety.services import tenant_settings
from tenants.api.safety import serializers
from tenants.api.safety.owned import (
    BenchViews,
    PlatformOwned,
    RuleViews,
    VersionViews,
    WordListViews,
)
from tenants.middleware import platform_view

_RULES = {
    "list": "safety.platform.read",
    "retrieve": "safety.platform.read",
    "create": "safety.platform.change",
    "partial_update": "safety.platform.change",
    "destroy": "safety.platform.change",
}


@platform_view("platform's safety")
class PlatformSafetyViewSet(PlatformOwned, BenchViews):
    """The platform's safety as a whole."""

    model = PlatformSafety
    output = serializers.PlatformSafetyOutput
    permissions = {
        "list": "safety.platform.read",
        "try_text": "safety.platform.try",
        "compare": "safety.platform.try",
        "set_on_failure": "safety.platform.change",
    }
    inputs = {**BenchViews.bench_inputs, "set_on_failure": serializers.SetTenantOnFailure}
    outputs = {**BenchViews.bench_outputs, "set_on_failure": serializers.SafetyOutput}

    def list(self, request: Request) -> Response:
        """Which version is in force, and how far the draft is."""
        self.read_query(NoInput)
        return self.answer(selectors.head_of(PLATFORM))

    @action(detail=False, methods=["post"], url_path="on-failure")
    def set_on_failure(self, request: Request) -> Response:
        """What happens to a tenant's requests while rules cannot be checked."""
        given = self.read(serializers.SetTenantOnFailure)
        tenant = given.pop("tenant")
        tenant_settings.set_on_failure(tenant_id=tenant.pk, actor=self.actor, **given)
        return self.answer(selectors.overview(tenant.pk))


@platform_view("platform's safety rules")
class PlatformRuleViewSet(PlatformOwned, RuleViews):
    """Drafts of the platform's rules."""

    model = PlatformRule
    output = serializers.PlatformRuleOutput
    create_input = serializers.CreatePlatformRule
    change_input = serializers.ChangePlatformRule
    inputs = {"create": serializers.CreatePlatformRule, "partial_update": serializers.ChangePlatformRule}
    permissions = _RULES

    def rows(self) -> QuerySet[Any]:
        """All of them."""
        return selectors.platform_rules()


@platform_view("platform's word lists")
class PlatformWordListViewSet(PlatformOwned, WordListViews):
    """Word lists of the platform. Tenants see that they are there, and not what is in them."""

    model = PlatformWordList
    permissions = {
        **_RULES,
        "terms": "safety.platform.change",
        "change_terms": "safety.platform.change",
        "replace_terms": "safety.platform.change",
    }

    def rows(self) -> QuerySet[Any]:
        """All of them."""
        return selectors.platform_word_lists()


@platform_view("platform's rule versions")
class PlatformVersionViewSet(PlatformOwned, VersionViews):
    """Published versions of the platform's rules, the newest first; the newest is in force."""

    model = PlatformRuleSetVersion
    publish_input = serializers.PublishPlatform
    roll_back_input = serializers.RollBackPlatform
    inputs = {"create": serializers.PublishPlatform, "roll_back": serializers.RollBackPlatform}
    permissions = {
        "list": "safety.platform.read",
        "retrieve": "safety.platform.read",
        "create": "safety.platform.change",
        "roll_back": "safety.platform.change",
    }

    def rows(self) -> QuerySet[Any]:
        """All of them."""
        return selectors.platform_versions()

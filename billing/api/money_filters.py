"""Filters of the ledger, payments, corrections and plans."""

from __future__ import annotations

import django_filters

from api.filters import PublicIdFilter
from billing.models import CorrectionState, PaymentState, TransactionKind
from billing.money import CURRENCY_CHOICES


class PlanFilter(django_filters.FilterSet):
    """Plans by short name and currency."""

    slug = django_filters.CharFilter("slug", max_length=50)
    currency = django_filters.ChoiceFilter("currency", choices=CURRENCY_CHOICES)


class SubscriptionFilter(django_filters.FilterSet):
    """Subscriptions by tenant and plan."""

    tenant = PublicIdFilter("tenant_id", prefix="ten")
    plan = PublicIdFilter("plan_id", prefix="ppl")


class TransactionFilter(django_filters.FilterSet):
    """The ledger by tenant, kind, currency, reference and span of time."""

    tenant = PublicIdFilter("tenant_id", prefix="ten")
    kind = django_filters.ChoiceFilter("kind", choices=TransactionKind.choices)
    currency = django_filters.ChoiceFilter("currency", choices=CURRENCY_CHOICES)
    reference = django_filters.CharFilter("reference", max_length=200)
    since = django_filters.IsoDateTimeFilter("created_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter("created_at", lookup_expr="lt")


class PaymentFilter(django_filters.FilterSet):
    """Payments by tenant, state and reference."""

    tenant = PublicIdFilter("tenant_id", prefix="ten")
    state = django_filters.ChoiceFilter("state", choices=PaymentState.choices)
    reference = django_filters.CharFilter("reference", max_length=200)


class CorrectionFilter(django_filters.FilterSet):
    """Corrections by tenant and state."""

    tenant = PublicIdFilter("tenant_id", prefix="ten")
    state = django_filters.ChoiceFilter("state", choices=CorrectionState.choices)

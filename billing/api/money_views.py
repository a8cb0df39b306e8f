"""REST views of money: thin; reads from selectors, writes through services.

Tenants read what is theirs. The platform's staff work behind the platform door and see every tenant's; what moves
money is done by operators.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.filters import refuse_unknown_parameters
from api.pagination import CURSOR_PARAM, PAGE_SIZE_PARAM
from api.renderers import file_responses
from api.serializers import NoInput, ReasonInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from billing.api import money_filters as filters
from billing.api import money_serializers as serializers
from billing.api.serializers import UsageOutput
from billing.models import (
    Account,
    Correction,
    LedgerTransaction,
    Payment,
    Price,
    PricePlan,
    PriceSubscription,
)
from billing.selectors import ledger as ledger_selectors
from billing.selectors import prices as price_selectors
from billing.services import corrections, prices, wallets
from core.errors import InvalidInput
from core.scoping import current_scope
from tenants.middleware import platform_view
from tenants.selectors import tenant_by_id


class _OfOneTenant(ScopedViewSet):
    """Views of one tenant's money: one's own; staff say whose."""

    def whose(self) -> UUID:
        """The active tenant; for staff the one that the query names. Raises InvalidInput, NotFound."""
        asked = self.read_query(serializers.TenantQuery).get("tenant")
        active = current_scope().tenant_id
        if active is not None and asked in (None, active):
            return active
        if asked is None:
            raise InvalidInput(_("Say whose: tenant=ten_…"), field="tenant")
        # Inside a tenant any other is out of sight, and absent.
        found: UUID = tenant_by_id(tenant_id=asked).pk
        return found


@platform_view("price plans")
class PricePlanViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Price plans that one's tenant has or had; for the platform's staff all."""

    model = PricePlan
    output = serializers.PlanOutput
    filterset_class = filters.PlanFilter
    permissions = {
        "list": "billing.price.read",
        "retrieve": "billing.price.read",
        "create": "billing.price.change",
        "versions": "billing.price.read",
        "publish": "billing.price.change",
    }
    inputs = {"create": serializers.CreatePlan, "publish": serializers.PublishVersion}
    outputs = {"versions": serializers.VersionsOutput, "publish": serializers.VersionOutput}
    statuses = {"publish": 200}

    def rows(self) -> QuerySet[Any]:
        """The plans in sight."""
        return price_selectors.price_plans()

    def create(self, request: Request) -> Response:
        """A new plan, without prices yet."""
        given = self.read(serializers.CreatePlan)
        return self.answer(prices.create_plan(actor=self.actor, **given))

    @action(detail=True)
    def versions(self, request: Request, id: str) -> Response:  # noqa: A002
        """All versions of the plan's prices, the newest first."""
        self.read_query(NoInput)
        return self.answer({"results": price_selectors.versions_of(plan=self.get_object())})

    @action(detail=True, methods=["post"])
    def publish(self, request: Request, id: str) -> Response:  # noqa: A002
        """A further version of the plan's prices, from now or a later moment on."""
        plan = self.get_object()
        given = self.read(serializers.PublishVersion)
        return self.answer(prices.publish(actor=self.actor, plan=plan, **given))


@platform_view("price subscriptions")
class PriceSubscriptionViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """By which price plan a tenant is charged, from when on."""

    model = PriceSubscription
    output = serializers.SubscriptionOutput
    filterset_class = filters.SubscriptionFilter
    permissions = {
        "list": "billing.price.read",
        "retrieve": "billing.price.read",
        "create": "billing.price.change",
    }
    inputs = {"create": serializers.Subscribe}

    def rows(self) -> QuerySet[Any]:
        """The subscriptions in scope."""
        return price_selectors.subscriptions()

    def create(self, request: Request) -> Response:
        """Give a tenant a plan, or none, from now or a later moment on."""
        given = self.read(serializers.Subscribe)
        return self.answer(prices.subscribe(actor=self.actor, **given))


@platform_view("prices")
class PriceViewSet(_OfOneTenant):
    """What requests cost the tenant now."""

    model = Price
    output = serializers.CurrentPrices
    permissions = {"list": "billing.price.read"}
    is_single = True

    @extend_schema(parameters=[serializers.TenantQuery])
    def list(self, request: Request) -> Response:
        """The plan, and its prices in force by model."""
        plan, found = price_selectors.prices_in_force(tenant_id=self.whose())
        return self.answer({"plan": plan, "currency": plan.currency if plan else None, "prices": found})


@platform_view("wallets")
class WalletViewSet(_OfOneTenant):
    """What the tenant can spend."""

    model = Account
    output = serializers.WalletsOutput
    permissions = {
        "list": "billing.wallet.read",
        "grant_credit": "billing.wallet.change",
        "set_credit_line": "billing.wallet.change",
    }
    inputs = {
        "grant_credit": serializers.CreditInput,
        "set_credit_line": serializers.CreditLineInput,
    }
    is_single = True

    @extend_schema(parameters=[serializers.TenantQuery])
    def list(self, request: Request) -> Response:
        """Balance, what is held, credit line, and what can be spent."""
        return self.answer(ledger_selectors.wallets_of(tenant_id=self.whose()))

    @action(detail=False, methods=["post"], url_path="grant-credit")
    def grant_credit(self, request: Request) -> Response:
        """Give a tenant money to spend."""
        given = self.read(serializers.CreditInput)
        tenant = given["tenant"]
        wallets.grant_credit(actor=self.actor, amount_nano=given.pop("amount"), **given)
        return self.answer(ledger_selectors.wallets_of(tenant_id=tenant.pk))

    @action(detail=False, methods=["post"], url_path="set-credit-line")
    def set_credit_line(self, request: Request) -> Response:
        """How far a tenant's balance may go below zero."""
        given = self.read(serializers.CreditLineInput)
        tenant = given["tenant"]
        wallets.set_credit_line(actor=self.actor, limit_nano=given.pop("limit"), **given)
        return self.answer(ledger_selectors.wallets_of(tenant_id=tenant.pk))


@platform_view("ledger")
class LedgerViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """The ledger's transactions with their entries, the newest first."""

    model = LedgerTransaction
    output = serializers.TransactionOutput
    filterset_class = filters.TransactionFilter
    permissions = {
        "list": "billing.ledger.read",
        "retrieve": "billing.ledger.read",
        "requests": "billing.ledger.read",
    }
    outputs = {"requests": UsageOutput}

    def rows(self) -> QuerySet[Any]:
        """The transactions in scope."""
        return ledger_selectors.transactions()

    @extend_schema(responses={200: UsageOutput(many=True), **file_responses()}, filters=False)
    @action(detail=True)
    def requests(self, request: Request, id: str) -> Response:  # noqa: A002
        """The requests that a transaction charged for, the newest first, page by page."""
        refuse_unknown_parameters(request, {CURSOR_PARAM, PAGE_SIZE_PARAM})
        rows = ledger_selectors.requests_behind(transaction=self.get_object())
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(UsageOutput(page, many=True).data)


@platform_view("top-ups")
class TopUpViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Payments into the wallet."""

    model = Payment
    output = serializers.PaymentOutput
    filterset_class = filters.PaymentFilter
    permissions = {
        "list": "billing.wallet.read",
        "retrieve": "billing.wallet.read",
        "create": "billing.payment.record",
        "confirm": "billing.payment.confirm",
        "refund": "billing.payment.refund",
    }
    inputs = {"create": serializers.RecordPayment, "confirm": NoInput, "refund": ReasonInput}

    def rows(self) -> QuerySet[Any]:
        """The payments in scope."""
        return ledger_selectors.payments()

    def create(self, request: Request) -> Response:
        """Write down a payment; the same reference again is the same payment."""
        given = self.read(serializers.RecordPayment)
        amount = given.pop("amount")
        return self.answer(wallets.begin_payment(actor=self.actor, amount_nano=amount, **given))

    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, id: str) -> Response:  # noqa: A002
        """The payment has arrived: the wallet gets it."""
        row = self.get_object()
        self.read(NoInput)
        return self.answer(wallets.confirm_payment(actor=self.actor, payment=row))

    @action(detail=True, methods=["post"])
    def refund(self, request: Request, id: str) -> Response:  # noqa: A002
        """Pay it back in full, out of what the wallet still has."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(wallets.refund_payment(actor=self.actor, payment=row, **given))


@platform_view("corrections")
class CorrectionViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Corrections of a wallet, asked for by one operator and approved by another."""

    model = Correction
    output = serializers.CorrectionOutput
    filterset_class = filters.CorrectionFilter
    permissions = {
        "list": "billing.ledger.read",
        "retrieve": "billing.ledger.read",
        "create": "billing.correction.request",
        "approve": "billing.correction.approve",
        "reject": "billing.correction.approve",
    }
    inputs = {"create": serializers.RequestCorrection, "approve": NoInput, "reject": ReasonInput}

    def rows(self) -> QuerySet[Any]:
        """The corrections in scope."""
        return ledger_selectors.corrections()

    def create(self, request: Request) -> Response:
        """Ask for a correction. Nothing moves yet."""
        given = self.read(serializers.RequestCorrection)
        amount = given.pop("amount")
        return self.answer(corrections.request(actor=self.actor, amount_nano=amount, **given))

    @action(detail=True, methods=["post"])
    def approve(self, request: Request, id: str) -> Response:  # noqa: A002
        """Let it happen. Not for whoever asked for it."""
        row = self.get_object()
        self.read(NoInput)
        return self.answer(corrections.approve(actor=self.actor, correction=row))

    @action(detail=True, methods=["post"])
    def reject(self, request: Request, id: str) -> Response:  # noqa: A002
        """Turn it down."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(corrections.reject(actor=self.actor, correction=row, **given))

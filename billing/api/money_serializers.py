"""What money looks like outside: prices, wallets, the ledger, payments and corrections."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.models import User
from api.fields import PublicIdField, ReferenceField
from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from billing import money
from billing.api.money import AmountField
from billing.models import (
    AccountKind,
    CorrectionState,
    LedgerTransaction,
    PaymentState,
    Price,
    PricePlan,
    TransactionKind,
)
from billing.models.prices import MOST_PRICE_NANO
from billing.selectors.ledger import transaction_by_public_id
from billing.selectors.prices import price_plan_by_public_id
from tenants.models import Tenant
from tenants.selectors import tenant_by_public_id

PER_MILLION = _("Per million tokens, in currency units.")
AMOUNT = _("In currency units, as text: “12.50”.")
# An amount's name outside, and inside.
PRICE_FIELDS = {
    "input": "input_nano",
    "cached_input": "cached_nano",
    "output": "output_nano",
    "call": "call_nano",
    "gpu_second": "gpu_second_nano",
    "slot_hour": "slot_hour_nano",
}
# A component's name outside, and inside; its volumes are tokens, calls, nanoseconds and milliseconds.
COMPONENT_NAMES = {
    "input": "input",
    "cached_input": "cached",
    "output": "output",
    "calls": "calls",
    "gpu_ns": "gpu_ns",
    "slot_ms": "slot_ms",
}
_INSIDE_OUT = {inside: outside for outside, inside in COMPONENT_NAMES.items()}


class TierField(serializers.Serializer[Any]):
    """From this volume of the month on, this price."""

    start = serializers.IntegerField(min_value=1, max_value=10**18, source="0")
    price = AmountField(least=0, most=MOST_PRICE_NANO, source="1")

    def to_internal_value(self, data: Any) -> Any:
        """As [from, nano]; refuses what is not declared."""
        if not isinstance(data, dict) or set(data) != {"from", "price"}:
            raise serializers.ValidationError(_("A tier is a volume and a price."), code="invalid")
        start = self.fields["start"].run_validation(data["from"])
        return [start, self.fields["price"].run_validation(data["price"])]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As {"from", "price"}."""
        start, nano = instance
        return {"from": start, "price": money.plain(nano)}


class _ByComponent(serializers.DictField):
    """A value for some of the components, by their names outside."""

    def to_internal_value(self, data: Any) -> Any:
        """By the names inside."""
        given = super().to_internal_value(data)
        if unknown := set(given) - set(COMPONENT_NAMES):
            raise serializers.ValidationError(
                _("There is no component %(name)s.") % {"name": min(unknown)[:50]}, code="unknown"
            )
        return {COMPONENT_NAMES[name]: value for name, value in given.items()}

    def to_representation(self, value: Any) -> Any:
        """By the names outside."""
        return super().to_representation({_INSIDE_OUT[name]: one for name, one in value.items()})


def _price(help_text: Any = PER_MILLION, **kwargs: Any) -> AmountField:
    return AmountField(least=0, most=MOST_PRICE_NANO, help_text=help_text, **kwargs)


class PriceInput(InputSerializer):
    """What requests to one model cost."""

    model = serializers.CharField(max_length=200, help_text=_("A public name, or “*” for all others."))
    input = _price(required=False, source="input_nano")
    cached_input = _price(required=False, source="cached_nano")
    output = _price(required=False, source="output_nano")
    call = _price(_("Per call."), required=False, source="call_nano")
    gpu_second = _price(_("Per second of engine time."), required=False, source="gpu_second_nano")
    slot_hour = _price(_("Per hour of an occupied slot."), required=False, source="slot_hour_nano")
    tiers = _ByComponent(child=TierField(many=True), required=False)
    included = _ByComponent(
        child=serializers.IntegerField(min_value=0, max_value=10**18),
        required=False,
        help_text=_("Volumes that are free every month."),
    )


class PriceOutput(OutputSerializer):
    """What requests to one model cost."""

    id = PublicIdField(Price.id_prefix, source="pk")
    model = serializers.CharField()
    input = AmountField(source="input_nano", help_text=PER_MILLION)
    cached_input = AmountField(source="cached_nano", help_text=PER_MILLION)
    output = AmountField(source="output_nano", help_text=PER_MILLION)
    call = AmountField(source="call_nano")
    gpu_second = AmountField(source="gpu_second_nano")
    slot_hour = AmountField(source="slot_hour_nano")
    tiers = _ByComponent(child=TierField(many=True))
    included = _ByComponent(child=serializers.IntegerField())


class PlanOutput(OutputWithId):
    """A price plan."""

    slug = serializers.CharField()
    name = serializers.CharField()
    currency = serializers.CharField()
    created_at = serializers.DateTimeField()


class CreatePlan(InputSerializer):
    """A new price plan."""

    slug = serializers.CharField(max_length=50)
    name = serializers.CharField(max_length=100)
    currency = serializers.ChoiceField(money.CURRENCY_CHOICES)


class VersionOutput(OutputWithId):
    """The prices of a plan from a moment on."""

    number = serializers.IntegerField()
    valid_from = serializers.DateTimeField()
    note = serializers.CharField()
    prices = PriceOutput(many=True)


class VersionsOutput(OutputSerializer):
    """All versions of a plan, the newest first."""

    results = VersionOutput(many=True)


class PublishVersion(InputSerializer):
    """A further version: from then on, requests are admitted at these prices."""

    prices = PriceInput(many=True, allow_empty=False)
    valid_from = serializers.DateTimeField(required=False, help_text=_("Now, unless said otherwise."))
    note = serializers.CharField(max_length=500, required=False, allow_blank=True)


class SubscriptionOutput(OutputWithId):
    """From a moment on, a tenant is charged by a plan."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    plan = PublicIdField(PricePlan.id_prefix, source="plan_id", allow_null=True)
    valid_from = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class Subscribe(InputSerializer):
    """Charge a tenant by a plan; by none: not at all."""

    tenant = ReferenceField(Tenant.id_prefix, find=tenant_by_public_id)
    plan = ReferenceField(PricePlan.id_prefix, find=price_plan_by_public_id, allow_null=True)
    valid_from = serializers.DateTimeField(required=False, help_text=_("Now, unless said otherwise."))


class TenantQuery(InputSerializer):
    """Whose: for the platform's staff, who have no tenant of their own."""

    tenant = PublicIdField(Tenant.id_prefix, required=False)


class CurrentPrices(OutputSerializer):
    """What requests cost the tenant now. Without a plan nothing is charged."""

    plan = PlanOutput(allow_null=True)
    currency = serializers.CharField(allow_null=True)
    prices = PriceOutput(many=True)


class WalletOutput(OutputSerializer):
    """What the tenant has in one currency."""

    currency = serializers.CharField()
    balance = AmountField(help_text=_("What can be set aside for requests; below zero: credit that is used."))
    held = AmountField(help_text=_("Set aside for requests that run or may come."))
    credit_line = AmountField(help_text=_("How far the balance may go below zero."))
    spendable = AmountField(help_text=_("Balance and credit line together."))
    charged = AmountField(help_text=_("All that was ever charged."))


class WalletsOutput(OutputSerializer):
    """The tenant's money: in the currency of its plan, and in others."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    charged = serializers.BooleanField(help_text=_("Whether requests are charged at all."))
    current = WalletOutput(allow_null=True)
    others = WalletOutput(many=True)


class CreditInput(InputSerializer):
    """Money that the platform gives."""

    tenant = ReferenceField(Tenant.id_prefix, find=tenant_by_public_id)
    amount = AmountField(least=1, help_text=AMOUNT)
    currency = serializers.ChoiceField(money.CURRENCY_CHOICES)
    reason = serializers.CharField(max_length=1000)


class CreditLineInput(InputSerializer):
    """How far a wallet may go below zero."""

    tenant = ReferenceField(Tenant.id_prefix, find=tenant_by_public_id)
    limit = AmountField(least=0, help_text=AMOUNT)
    currency = serializers.ChoiceField(money.CURRENCY_CHOICES)
    reason = serializers.CharField(max_length=1000)


class EntryOutput(OutputSerializer):
    """What one account gained."""

    account = serializers.ChoiceField(AccountKind.choices, source="account.kind")
    amount = AmountField(source="amount_nano")
    balance = AmountField(source="balance_nano", help_text=_("Of the account, afterwards."))


class TransactionOutput(OutputWithId):
    """One movement of money; its entries add up to zero."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    kind = serializers.ChoiceField(TransactionKind.choices)
    currency = serializers.CharField()
    reference = serializers.CharField()
    reason = serializers.CharField()
    actor = serializers.CharField(source="actor_label")
    approver = serializers.CharField(source="approver_label")
    entries = EntryOutput(many=True)
    created_at = serializers.DateTimeField()


class PaymentOutput(OutputWithId):
    """Money that somebody pays in."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    provider = serializers.CharField()
    reference = serializers.CharField()
    amount = AmountField(source="amount_nano")
    currency = serializers.CharField()
    state = serializers.ChoiceField(PaymentState.choices)
    note = serializers.CharField()
    pay_url = serializers.CharField()
    transaction = PublicIdField(LedgerTransaction.id_prefix, source="transaction_id", allow_null=True)
    created_at = serializers.DateTimeField()


class RecordPayment(InputSerializer):
    """A payment that is to come, or has come."""

    tenant = ReferenceField(Tenant.id_prefix, find=tenant_by_public_id)
    amount = AmountField(least=1, help_text=AMOUNT)
    currency = serializers.ChoiceField(money.CURRENCY_CHOICES)
    reference = serializers.CharField(max_length=200, required=False, allow_blank=True)
    provider = serializers.CharField(max_length=50, required=False)
    note = serializers.CharField(max_length=500, required=False, allow_blank=True)


class CorrectionOutput(OutputWithId):
    """An amount to be added to a wallet, or taken."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    amount = AmountField(source="amount_nano")
    currency = serializers.CharField()
    reason = serializers.CharField()
    corrects = PublicIdField(LedgerTransaction.id_prefix, source="corrects_id", allow_null=True)
    state = serializers.ChoiceField(CorrectionState.choices)
    requested_by = serializers.CharField()
    decided_by = serializers.CharField()
    decided_by_id = PublicIdField(User.id_prefix, allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    transaction = PublicIdField(LedgerTransaction.id_prefix, source="transaction_id", allow_null=True)
    created_at = serializers.DateTimeField()


class RequestCorrection(InputSerializer):
    """Ask for a correction; somebody else approves it."""

    tenant = ReferenceField(Tenant.id_prefix, find=tenant_by_public_id)
    amount = AmountField(help_text=_("Added to the wallet; below zero: taken from it."))
    currency = serializers.ChoiceField(money.CURRENCY_CHOICES)
    reason = serializers.CharField(max_length=1000)
    corrects = ReferenceField(
        LedgerTransaction.id_prefix, find=transaction_by_public_id, required=False, allow_null=True
    )

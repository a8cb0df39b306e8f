"""What budgets, events, invoices and reconciliations look like outside, and what may be sent in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from access.models import APIKey
from access.selectors import key_by_public_id
from api.fields import PublicIdField, ReferenceField
from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from billing.models import BudgetScope, Component, InvoiceState, LineKind, ReconciliationState
from billing.nano import NANO, exact_text, minor_text
from tenants.models import Tenant

# The largest amount that fits nano-units in 64 bits.
MOST = Decimal(9_223_372_036)


class MonthField(serializers.DateField):
    """A month as `YYYY-MM`; inside, its first day."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="%Y-%m", input_formats=["%Y-%m"], **kwargs)


class BudgetOutput(OutputWithId):
    """A budget: what is watched, up to what, and when it is told of."""

    name = serializers.CharField()
    scope = serializers.ChoiceField(BudgetScope.choices)
    key = PublicIdField(APIKey.id_prefix, source="key_id", allow_null=True)
    model = serializers.CharField()
    tag_name = serializers.CharField()
    tag_value = serializers.CharField()
    amount = serializers.SerializerMethodField()
    currency = serializers.CharField()
    tokens = serializers.IntegerField(source="limit_tokens", allow_null=True)
    thresholds = serializers.ListField(child=serializers.IntegerField())
    recipients = serializers.ListField(child=serializers.EmailField())
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()

    def get_amount(self, budget: Any) -> str | None:
        """The amount per month as exact decimal text."""
        return exact_text(budget.limit_nano) if budget.limit_nano is not None else None


class BudgetDetail(BudgetOutput):
    """A budget with what was used of it this month."""

    used = serializers.SerializerMethodField()
    used_percent = serializers.SerializerMethodField()

    def get_used(self, budget: Any) -> str:
        """Used this month: an amount as exact decimal text, or a number of tokens."""
        spent: int = self.context["spent"]
        return exact_text(spent) if budget.limit_nano is not None else str(spent)

    def get_used_percent(self, budget: Any) -> int:
        """Used this month in whole percent, cut."""
        limit = budget.limit_nano if budget.limit_nano is not None else budget.limit_tokens
        return int(self.context["spent"] * 100 // limit)


class _BudgetFields(InputSerializer):
    """What a budget is made of."""

    key = ReferenceField(APIKey.id_prefix, find=key_by_public_id, required=False)
    model = serializers.CharField(max_length=200, required=False)
    tag_name = serializers.CharField(max_length=64, required=False)
    tag_value = serializers.CharField(max_length=200, required=False, allow_blank=True)
    amount = serializers.DecimalField(
        max_digits=19, decimal_places=9, max_value=MOST, min_value=Decimal(0), required=False, allow_null=True
    )
    currency = serializers.RegexField(r"^[A-Z]{3}\Z", required=False)
    tokens = serializers.IntegerField(min_value=1, max_value=(1 << 63) - 1, required=False, allow_null=True)
    thresholds = serializers.ListField(child=serializers.IntegerField(), max_length=10, required=False)
    recipients = serializers.ListField(
        child=serializers.EmailField(max_length=254), max_length=20, required=False
    )
    is_active = serializers.BooleanField(required=False)

    def to_internal_value(self, data: Any) -> Any:
        """The fields as the service takes them."""
        given = dict(super().to_internal_value(data))
        if "key" in given:
            given["key_id"] = given.pop("key").pk
        if "amount" in given:
            amount = given.pop("amount")
            given["limit_nano"] = None if amount is None else int(amount * NANO)
        if "tokens" in given:
            given["limit_tokens"] = given.pop("tokens")
        return given


class CreateBudget(_BudgetFields):
    """A new budget: an amount with its currency, or a number of tokens, per month."""

    name = serializers.CharField(max_length=100)
    scope = serializers.ChoiceField(BudgetScope.choices)


class ChangeBudget(_BudgetFields):
    """What is to change of a budget."""

    name = serializers.CharField(max_length=100, required=False)


class AlertOutput(OutputWithId):
    """A threshold that was reached."""

    period = MonthField()
    threshold = serializers.IntegerField()
    spent = serializers.IntegerField(help_text=_("Nano-units of the currency, or tokens."))
    limit = serializers.IntegerField()
    fired_at = serializers.DateTimeField()
    mailed_at = serializers.DateTimeField(allow_null=True)


class AlertsOutput(OutputSerializer):
    """What a budget told of, the latest first."""

    results = AlertOutput(many=True)


class BillingEventOutput(OutputWithId):
    """Something that happened to a tenant's money."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    type = serializers.CharField()
    payload = serializers.DictField()
    created_at = serializers.DateTimeField()


class InvoiceOutput(OutputWithId):
    """An invoice without its lines. A draft's total is that of `computed_at`."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    month = MonthField()
    currency = serializers.CharField()
    state = serializers.ChoiceField(InvoiceState.choices)
    number = serializers.CharField(allow_null=True)
    total = serializers.SerializerMethodField()
    exact_total = serializers.SerializerMethodField()
    exact_total_nano = serializers.IntegerField(source="total_nano")
    computed_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    paid_at = serializers.DateTimeField(allow_null=True)
    payment_reference = serializers.CharField()

    def get_total(self, invoice: Any) -> str:
        """What is to be paid: rounded half to even to the currency's smallest unit."""
        return minor_text(invoice.total_minor, invoice.currency)

    def get_exact_total(self, invoice: Any) -> str:
        """What the ledger says, exact."""
        return exact_text(invoice.total_nano)


class LineOutput(OutputSerializer):
    """One line. Quantities are tokens, calls, nanoseconds of GPU time or milliseconds of slot time."""

    position = serializers.IntegerField()
    kind = serializers.ChoiceField(LineKind.choices)
    description = serializers.SerializerMethodField()
    period = MonthField()
    model = serializers.CharField()
    component = serializers.ChoiceField(Component.choices)
    quantity = serializers.IntegerField()
    amount = serializers.SerializerMethodField()
    exact_amount = serializers.SerializerMethodField()
    exact_nano = serializers.IntegerField()
    note = serializers.CharField()

    def get_description(self, line: Any) -> str:
        """What the line is for, in the reader's language."""
        from billing.documents.invoices import description

        return description(line)

    def get_amount(self, line: Any) -> str:
        """Rounded half to even."""
        return minor_text(line.amount_minor, self.context["currency"])

    def get_exact_amount(self, line: Any) -> str:
        """Exact."""
        return exact_text(line.exact_nano)


class InvoiceDetail(InvoiceOutput):
    """An invoice with its lines; a draft's are computed as it is read."""

    lines = serializers.SerializerMethodField()

    def get_lines(self, invoice: Any) -> list[dict[str, Any]]:
        """The lines."""
        context = {**self.context, "currency": invoice.currency}
        return list(LineOutput(self.context["lines"], many=True, context=context).data)


class MonthInput(InputSerializer):
    """A month to close."""

    month = MonthField(help_text=_("YYYY-MM; it must be over."))


class PaymentInput(InputSerializer):
    """By which payment an invoice was paid."""

    payment_reference = serializers.CharField(max_length=200)


class ClosedOutput(OutputSerializer):
    """The invoices that were closed."""

    results = InvoiceOutput(many=True)


class DifferenceOutput(OutputSerializer):
    """Two figures that should be equal."""

    check = serializers.CharField(source="kind")
    subject = serializers.CharField(help_text=_("A tenant's id, or a replica."))
    measure = serializers.CharField()
    left = serializers.IntegerField()
    right = serializers.IntegerField()
    cause = serializers.CharField(help_text=_("What most likely made them differ."))


class ReconciliationOutput(OutputWithId):
    """One comparison with its differences."""

    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()
    state = serializers.ChoiceField(ReconciliationState.choices)
    checks = serializers.IntegerField()
    ran_at = serializers.DateTimeField()
    ran_by = serializers.CharField()
    differences = DifferenceOutput(many=True, source="differences.all")


class ReconciliationsOutput(OutputSerializer):
    """The latest comparisons, newest first."""

    results = ReconciliationOutput(many=True)


class SpanInput(InputSerializer):
    """Which days to compare: the last two full ones unless said otherwise."""

    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

"""Usage and money on support staff's desk: what one request used and cost, and why a wallet is what it is."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access import policies
from billing.models import (
    Account,
    Correction,
    EscrowEpoch,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    Price,
    PricePlan,
    PricePlanVersion,
    PriceSubscription,
    UsageRecord,
)
from billing.money import display
from billing.services import corrections, wallets
from core.staff import StaffAdmin, actor_of


def _amount(field: str, label: Any) -> Any:
    """A column with an amount, as the reader's language writes it."""

    @admin.display(description=label, ordering=field)
    def shown(self: Any, row: Any) -> str:
        return display(getattr(row, field), row.currency) if row.currency else ""

    return shown


@admin.register(UsageRecord)
class UsageRecordAdmin(StaffAdmin):
    """Requests of every tenant, newest first. Holds no prompt and no answer."""

    is_for_auditors = True
    list_display = (
        *("finished_at", "request_id", "tenant", "model", "outcome", "prompt_tokens", "completion_tokens"),
        *("queue_ms", "first_token_ms", "duration_ms", "charge"),
    )
    list_select_related = ("tenant",)
    list_filter = ("outcome", "stream")
    search_fields = ("=request_id", "=tenant__slug", "=model")
    search_help_text = _("Request id, tenant, model or id (use_…)")
    ordering = ("-finished_at", "-id")
    fields = (
        *("shown_id", "tenant", "request_id", "key_id", "user_id", "model", "version_id", "deployment_id"),
        *("replica", "route", "stream", "prompt_tokens", "cached_tokens", "completion_tokens", "queue_ms"),
        *("first_token_ms", "duration_ms", "outcome", "error_code", "end_user", "started_at", "finished_at"),
        *("gpu_prefill_ns", "gpu_decode_ns", "tags", "price_id", "hold", "charge", "epoch", "is_settled"),
        *("ledger_transaction_id",),
    )

    charge = _amount("charge_nano", _("charged"))
    hold = _amount("hold_nano", _("held"))


def _price(field: str, label: Any) -> Any:
    """A column with a price, in the currency of the plan."""

    @admin.display(description=label)
    def shown(self: Any, row: Price) -> str:
        return display(getattr(row, field), row.version.plan.currency)

    return shown


class _PriceLines(admin.TabularInline):
    """The prices of a version: of its first tiers."""

    model = Price
    fields = ("model", "input", "cached", "output", "call", "gpu_second", "slot_hour")
    readonly_fields = fields
    extra = 0
    can_delete = False

    input = _price("input_nano", _("input, per million tokens"))
    cached = _price("cached_nano", _("cached input, per million tokens"))
    output = _price("output_nano", _("output, per million tokens"))
    call = _price("call_nano", _("per call"))
    gpu_second = _price("gpu_second_nano", _("per GPU second"))
    slot_hour = _price("slot_hour_nano", _("per hour of an occupied slot"))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff see every price."""
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Prices are published, not typed in here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Prices never change."""
        return False


@admin.register(PricePlan)
class PricePlanAdmin(StaffAdmin):
    """Every price plan."""

    list_display = ("slug", "name", "currency", "made")
    list_filter = ("currency",)
    search_fields = ("=slug", "name")
    search_help_text = _("Short name, name or id (ppl_…)")
    ordering = ("slug",)
    fields = ("shown_id", "slug", "name", "currency", "made", "changed")


@admin.register(PricePlanVersion)
class PricePlanVersionAdmin(StaffAdmin):
    """Every version of every plan, with its prices."""

    list_display = ("plan", "number", "valid_from", "note")
    list_select_related = ("plan",)
    search_fields = ("=plan__slug",)
    search_help_text = _("Price plan or id (ppv_…)")
    ordering = ("-id",)
    fields = ("shown_id", "plan", "number", "valid_from", "note", "created_at")
    inlines = (_PriceLines,)


@admin.register(PriceSubscription)
class PriceSubscriptionAdmin(StaffAdmin):
    """By which plan which tenant is charged, from when on."""

    list_display = ("tenant", "plan", "valid_from", "made")
    list_select_related = ("tenant", "plan")
    search_fields = ("=tenant__slug", "=plan__slug")
    search_help_text = _("Tenant, price plan or id (sub_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "plan", "valid_from", "made")


@admin.register(Account)
class AccountAdmin(StaffAdmin):
    """Every account; a wallet's credit line is changed through REST."""

    list_display = ("tenant", "kind", "currency", "balance", "credit_line")
    list_select_related = ("tenant",)
    list_filter = ("kind", "currency")
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (acc_…)")
    ordering = ("tenant", "currency", "kind")
    fields = ("shown_id", "tenant", "kind", "currency", "balance", "credit_line", "entry_count", "made")

    balance = _amount("balance_nano", _("balance"))
    credit_line = _amount("credit_limit_nano", _("credit line"))


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(StaffAdmin):
    """Every movement of money."""

    list_display = ("made", "tenant", "kind", "reference", "actor_label", "approver_label")
    list_select_related = ("tenant",)
    list_filter = ("kind", "currency")
    search_fields = ("=tenant__slug", "=reference", "=idempotency_key")
    search_help_text = _("Tenant, reference or id (txn_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "kind", "currency", "reference", "reason", "actor_kind", "actor_id"),
        *("actor_label", "approver_id", "approver_label", "idempotency_key", "made"),
    )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(StaffAdmin):
    """Both sides of every movement."""

    list_display = ("transaction", "tenant", "account", "number", "amount", "balance")
    list_select_related = ("transaction", "tenant", "account")
    search_fields = ("=tenant__slug", "=transaction__id")
    search_help_text = _("Tenant or id (ent_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "transaction", "account", "number", "currency", "amount", "balance")

    amount = _amount("amount_nano", _("amount"))
    balance = _amount("balance_nano", _("balance afterwards"))


@admin.register(EscrowEpoch)
class EscrowEpochAdmin(StaffAdmin):
    """What was set aside for each run of Valkey."""

    list_display = ("tenant", "epoch", "state", "granted", "charged", "returned", "left")
    list_select_related = ("tenant",)
    list_filter = ("state", "currency")
    search_fields = ("=tenant__slug", "=epoch")
    search_help_text = _("Tenant, epoch or id (eep_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "epoch", "currency", "state", "granted", "charged", "returned", "left"),
        *("opened_at", "closed_at"),
    )

    granted = _amount("granted_nano", _("set aside"))
    charged = _amount("charged_nano", _("charged"))
    returned = _amount("returned_nano", _("returned"))

    @admin.display(description=_("left"))
    def left(self, row: EscrowEpoch) -> str:
        """What it may still spend."""
        return display(row.left_nano, row.currency)


@admin.register(Payment)
class PaymentAdmin(StaffAdmin):
    """Every payment; operators say which have arrived."""

    list_display = ("made", "tenant", "provider", "reference", "amount", "state")
    list_select_related = ("tenant",)
    list_filter = ("state", "provider", "currency")
    search_fields = ("=tenant__slug", "=reference")
    search_help_text = _("Tenant, reference or id (pay_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "provider", "reference", "amount", "state", "note", "created_by"),
        *("transaction", "made", "changed"),
    )
    actions = ("confirm", "refund")

    amount = _amount("amount_nano", _("amount"))

    def has_confirm_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "billing.payment.confirm")

    def has_refund_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "billing.payment.refund")

    @admin.action(description=_("Has arrived"), permissions=["confirm"])
    def confirm(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Put payments into their wallets."""
        self.apply(
            request,
            queryset,
            lambda payment, actor, _reason: wallets.confirm_payment(payment=payment, actor=actor),
        )

    @admin.action(description=_("Pay back"), permissions=["refund"])
    def refund(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Pay payments back out of their wallets."""
        self.apply(
            request,
            queryset,
            lambda payment, actor, reason: wallets.refund_payment(
                payment=payment, actor=actor, reason=reason
            ),
        )


@admin.register(Correction)
class CorrectionAdmin(StaffAdmin):
    """Every correction; whoever did not ask for it may approve it."""

    list_display = ("made", "tenant", "amount", "state", "requested_by", "decided_by")
    list_select_related = ("tenant",)
    list_filter = ("state", "currency")
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (cor_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "amount", "reason", "corrects", "state", "requested_by", "decided_by"),
        *("decided_at", "transaction", "made"),
    )
    actions = ("approve", "reject")

    amount = _amount("amount_nano", _("amount"))

    def has_approve_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "billing.correction.approve")

    @admin.action(description=_("Approve"), permissions=["approve"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let corrections happen."""
        self.apply(
            request,
            queryset,
            lambda row, actor, _reason: corrections.approve(correction=row, actor=actor),
        )

    @admin.action(description=_("Reject"), permissions=["approve"])
    def reject(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Turn corrections down."""
        self.apply(
            request,
            queryset,
            lambda row, actor, reason: corrections.reject(correction=row, actor=actor, reason=reason),
        )

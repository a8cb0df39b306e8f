"""Budgets, invoices and reconciliations on support staff's desk: to read; an invoice can be closed with a reason."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from billing.models import BillingEvent, Budget, Invoice, Reconciliation
from billing.money import display, readable
from billing.services import invoices
from core.staff import StaffAdmin


@admin.register(Budget)
class BudgetAdmin(StaffAdmin):
    """Budgets of every tenant."""

    list_display = ("name", "tenant", "scope", "shown_limit", "limit_tokens", "is_active")
    list_select_related = ("tenant",)
    list_filter = ("scope", "is_active")
    search_fields = ("name", "=tenant__slug")
    search_help_text = _("Name, tenant or id (bud_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "name", "scope", "key_id", "model", "tag_name", "tag_value", "shown_limit"),
        *("limit_tokens", "thresholds", "recipients", "is_active", "made", "changed"),
    )

    @admin.display(description=_("amount per month"), ordering="limit_nano")
    def shown_limit(self, budget: Budget) -> str:
        """The limit as money; empty where it is a number of tokens."""
        return "" if budget.limit_nano is None else display(budget.limit_nano, budget.currency)


@admin.register(BillingEvent)
class BillingEventAdmin(StaffAdmin):
    """What happened to tenants' money."""

    list_display = ("made", "type", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("=type", "=tenant__slug")
    search_help_text = _("Type, tenant or id (bev_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "type", "payload", "made")


@admin.register(Invoice)
class InvoiceAdmin(StaffAdmin):
    """Invoices of every tenant; closed here with a reason."""

    list_display = ("month", "tenant", "currency", "state", "number", "shown_total", "closed_at")
    list_select_related = ("tenant",)
    list_filter = ("state", "currency")
    search_fields = ("=number", "=tenant__slug")
    search_help_text = _("Number, tenant or id (inv_…)")
    ordering = ("-month", "-id")
    actions = ("close_invoices",)
    fields = (
        *("shown_id", "tenant", "month", "currency", "state", "number", "customer", "shown_total"),
        *("shown_exact", "computed_at", "closed_at", "paid_at", "payment_reference", "made", "changed"),
    )

    @admin.display(description=_("total"))
    def shown_total(self, invoice: Invoice) -> str:
        """The rounded total with its currency."""
        return readable(invoice.total_minor, invoice.currency)

    @admin.display(description=_("exact total"))
    def shown_exact(self, invoice: Invoice) -> str:
        """The total as the ledger has it."""
        return display(invoice.total_nano, invoice.currency)

    @admin.action(description=_("Close the chosen invoices"))
    def close_invoices(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> None:
        """Close drafts whose month is over."""
        self.apply(
            request,
            queryset,
            lambda invoice, actor, reason: invoices.close(invoice=invoice, actor=actor, reason=reason),
        )


@admin.register(Reconciliation)
class ReconciliationAdmin(StaffAdmin):
    """Comparisons, newest first."""

    list_display = ("ran_at", "begin", "end", "state", "checks", "ran_by")
    list_filter = ("state",)
    ordering = ("-id",)
    fields = ("shown_id", "begin", "end", "state", "checks", "ran_at", "ran_by", "shown_differences")

    @admin.display(description=_("differences"))
    def shown_differences(self, report: Reconciliation) -> str:
        """Each difference on a line."""
        return "\n".join(
            f"{row.get_kind_display()}: {row} ({row.cause_text})" for row in report.differences.all()
        )

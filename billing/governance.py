"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from billing.models import TagRollup, UsageRecord
from core.governance import BATCH, Counts, DataClass, delete_rows, register
from core.scoping import platform_scope

_TABLE = UsageRecord._meta.db_table


def forget_people(tenant_id: UUID) -> Counts:
    """Take names out of a closed tenant's usage records: end users, tags, and who called."""
    count = _blank(tenant_id, "end_user <> '' OR tags <> '{}' OR user_id IS NOT NULL OR key_id IS NOT NULL")
    # What is left of the sums by tag holds the tags.
    return {_TABLE: count, TagRollup._meta.db_table: delete_rows(TagRollup, tenant_id)}


def forget_end_user(tenant_id: UUID, end_user: str) -> Counts:
    """Take one end user out of usage records; what was used stays, nobody's."""
    gone = 0
    while True:
        with transaction.atomic(), platform_scope("governance.erase"), connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {_TABLE} SET end_user = '' WHERE tenant_id = %s AND (id, started_at) IN (SELECT id, started_at"  # noqa: S608
                f" FROM {_TABLE} WHERE tenant_id = %s AND end_user = %s LIMIT {BATCH})",
                [tenant_id, tenant_id, end_user],
            )
            gone += cursor.rowcount
            if cursor.rowcount < BATCH:
                return {_TABLE: gone}


def _blank(tenant_id: UUID, condition: str) -> int:
    gone = 0
    while True:
        with transaction.atomic(), platform_scope("governance.erase"), connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {_TABLE} SET end_user = '', tags = '{{}}', user_id = NULL, key_id = NULL"  # noqa: S608
                f" WHERE tenant_id = %s AND (id, started_at) IN (SELECT id, started_at FROM {_TABLE}"
                f" WHERE tenant_id = %s AND ({condition}) LIMIT {BATCH})",
                [tenant_id, tenant_id],
            )
            gone += cursor.rowcount
            if cursor.rowcount < BATCH:
                return gone


def declare() -> None:
    """Put them into the catalogue."""
    books = _("Bookkeeping: invoices rest on it, and the law asks for them for years. It holds no text.")
    register(
        DataClass(
            name="usage_records",
            title=_("Usage records"),
            holds=_(
                "What each request used: model, tokens, times, charge; end user and tags as the client named them."
            ),
            retained=_("As long as the books."),
            models=(
                "billing.UsageRecord",
                "billing.UsageRollup",
                "billing.TagRollup",
                "billing.UsageCounter",
            ),
            kept=books,
            erase=forget_people,
            erase_end_user=forget_end_user,
        ),
        DataClass(
            name="ledger",
            title=_("Ledger and payments"),
            holds=_("Amounts, balances, payments and corrections with their reasons."),
            retained=_("As long as the law asks for books."),
            models=(
                *(
                    "billing.Account",
                    "billing.LedgerTransaction",
                    "billing.LedgerEntry",
                    "billing.EscrowEpoch",
                ),
                *(
                    "billing.Payment",
                    "billing.Correction",
                    "billing.PriceSubscription",
                    "billing.BillingEvent",
                ),
            ),
            kept=books,
        ),
        DataClass(
            name="invoices",
            title=_("Invoices"),
            holds=_("Invoices and their lines, with the customer's name as printed."),
            retained=_("As long as the law asks for books."),
            models=("billing.Invoice", "billing.InvoiceLine"),
            kept=books,
        ),
        DataClass(
            name="budgets",
            title=_("Budgets"),
            holds=_("Budgets, their recipients' e-mail addresses, and alerts that were sent."),
            retained=_("Until they are removed."),
            models=("billing.Budget", "billing.BudgetAlert"),
        ),
    )

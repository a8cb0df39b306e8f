"""The tenant's money: wallet, invoices, budgets, and the ledger behind them."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing.models import Budget
from billing.periods import month_of
from billing.selectors import budgets, invoices, ledger
from billing.selectors.prices import prices_in_force
from console.pages import may, tenant_page
from core import clock
from tenants.http import tenant_of

LATEST = 6
PAGE = 50


@require_safe
@tenant_page("billing.wallet.read")
def index(request: HttpRequest) -> HttpResponse:
    """What there is, what is owed, what it may become, and what happened last."""
    tenant = tenant_of(request)
    plan, prices = prices_in_force(tenant_id=tenant.pk)
    context = {
        "wallets": ledger.wallets_of(tenant_id=tenant.pk),
        "plan": plan,
        "prices": prices,
        "invoices": invoices.invoices()[:LATEST] if may(request, "billing.invoice.read") else [],
        "budgets": [_spent(budget) for budget in budgets.budgets().filter(is_active=True)[:20]],
        "payments": ledger.payments()[:LATEST],
        "transactions": [_sides(each) for each in ledger.transactions()[:LATEST]],
    }
    return render(request, "billing/money.html", context)


@require_safe
@tenant_page("billing.ledger.read")
def entries(request: HttpRequest) -> HttpResponse:
    """The ledger, newest first."""
    page = Paginator(ledger.transactions(), PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "transactions": [_sides(each) for each in page]}
    return render(request, "billing/ledger.html", context)


@require_safe
@tenant_page("billing.ledger.read")
def entry(request: HttpRequest, transaction_id: str) -> HttpResponse:
    """One transaction, and the requests that it charged for."""
    found = ledger.transaction_by_public_id(public_id=transaction_id)
    page = Paginator(ledger.requests_behind(transaction=found), PAGE).get_page(request.GET.get("page"))
    return render(request, "billing/transaction.html", {"each": _sides(found), "page": page})


@require_safe
@tenant_page("billing.invoice.read")
def invoice(request: HttpRequest, invoice_id: str) -> HttpResponse:
    """One month's bill, line by line."""
    found = invoices.invoice_by_public_id(public_id=invoice_id)
    return render(request, "billing/invoice_page.html", {"invoice": found, "lines": invoices.lines_of(found)})


@require_safe
@tenant_page("billing.invoice.read")
def line(request: HttpRequest, invoice_id: str, number: int) -> HttpResponse:
    """The requests behind one line of a bill."""
    found = invoices.invoice_by_public_id(public_id=invoice_id)
    one = invoices.line_of(found, number)
    rows = invoices.requests_behind(found, one).order_by("-started_at", "-id")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "billing/invoice_line.html", {"invoice": found, "line": one, "page": page})


def _spent(budget: Budget) -> dict[str, Any]:
    spent = budgets.spent(budget, month_of(clock.now()))
    limit = budget.limit_nano if budget.limit_nano is not None else budget.limit_tokens
    part = min(100, round(100 * spent / limit)) if limit else 100
    return {"budget": budget, "spent": spent, "limit": limit, "part": part}


def _sides(each: Any) -> dict[str, Any]:
    """A transaction with its sides in words, what it moved from and to."""
    sides = [(entry.account.get_kind_display(), entry.amount_nano) for entry in each.entries.all()]
    return {
        "transaction": each,
        "sides": sides,
        "amount": sum(amount for _name, amount in sides if amount > 0),
    }

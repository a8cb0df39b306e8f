"""Pages of usage and money, under /console/."""

from __future__ import annotations

from django.urls import path

from billing.pages import money, usage

app_name = "billing"
urlpatterns = [
    path("usage/", usage.index, name="usage"),
    path("billing/", money.index, name="money"),
    path("billing/ledger/", money.entries, name="ledger"),
    path("billing/ledger/<str:transaction_id>/", money.entry, name="transaction"),
    path("billing/invoices/<str:invoice_id>/", money.invoice, name="invoice"),
    path("billing/invoices/<str:invoice_id>/lines/<int:number>/", money.line, name="invoice-line"),
]

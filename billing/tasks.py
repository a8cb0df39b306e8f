"""Scheduled work of the billing centre. Each may run in several schedulers at once and takes effect once (F16)."""

from __future__ import annotations

from celery import shared_task

from billing.services import alerts, budgets, invoices, partitions, reconciliation, verification
from core.actors import system


@shared_task(name="billing.keep_partitions_ahead")
def keep_partitions_ahead() -> None:
    """Make the usage table's partitions of the months to come."""
    partitions.keep_ahead()


@shared_task(name="billing.watch_budgets")
def watch_budgets() -> None:
    """Compare budgets with what was used, and note what is to be told."""
    budgets.watch()


@shared_task(name="billing.send_alerts")
def send_alerts() -> None:
    """Send the e-mails of alerts."""
    alerts.send_waiting()


@shared_task(name="billing.keep_invoices_up")
def keep_invoices_up() -> None:
    """Make drafts, and close the invoices of months that are over."""
    invoices.keep_up()


@shared_task(name="billing.reconcile")
def reconcile() -> None:
    """Compare engines, records, ledger and invoices of the last two days."""
    begin, end = reconciliation.yesterday()
    reconciliation.run(begin=begin, end=end, actor=system("billing.reconcile"))


@shared_task(name="billing.verify_ledgers")
def verify_ledgers() -> None:
    """Look whether every ledger adds up; what does not is logged as an error."""
    verification.verify()

"""E-mails about budgets. An alert's row says whether its e-mail still has to go out."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db.models import F
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import override

from billing.models import Budget, BudgetAlert
from billing.money import plain
from core import clock
from core.scoping import platform_scope, tenant_scope
from tenants.models import Membership, Role

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 500
MOST_ATTEMPTS = 10
TOLD_ROLES = (Role.OWNER, Role.ADMIN, Role.BILLING)


def send_waiting() -> int:
    """Send the e-mails that are waiting; returns how many alerts were told of. For the schedule.

    An alert is locked while its e-mail is sent, so that schedulers running at once send it once; when sending
    fails it stays waiting for the next round, at most MOST_ATTEMPTS times.
    """
    with platform_scope("alerts.send_waiting"):
        waiting = list(
            BudgetAlert.objects.filter(mailed_at=None, mail_attempts__lt=MOST_ATTEMPTS)
            .order_by("fired_at")
            .values_list("tenant_id", "pk")[:MOST_AT_ONCE]
        )
    return sum(_send(tenant_id, alert_id) for tenant_id, alert_id in waiting)


def _send(tenant_id: UUID, alert_id: UUID) -> bool:
    with tenant_scope(tenant_id):
        alert = (
            BudgetAlert.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("budget", "tenant")
            .filter(pk=alert_id, mailed_at=None)
            .first()
        )
        if alert is None:
            return False
        messages = [_message(alert, address, language) for address, language in _recipients(alert.budget)]
        try:
            if messages:
                get_connection(fail_silently=False).send_messages(messages)
        except OSError as error:  # SMTPException is one
            log.warning("billing.alert.not_sent", alert=alert.public_id, error=type(error).__name__)
            BudgetAlert.objects.filter(pk=alert.pk).update(mail_attempts=F("mail_attempts") + 1)
            return False
        alert.mailed_at = clock.now()
        alert.save(update_fields=["mailed_at"])
        return True


def _recipients(budget: Budget) -> list[tuple[str, str]]:
    """Addresses, each with the language to write in: those who look after money, and who else is named."""
    people = Membership.objects.filter(
        tenant_id=budget.tenant_id, role__in=TOLD_ROLES, user__is_active=True
    ).select_related("user")
    found = {member.user.email: member.user.language for member in people}
    for address in budget.recipients:
        found.setdefault(address, settings.LANGUAGE_CODE)
    return sorted(found.items())


def _message(alert: BudgetAlert, address: str, language: str) -> EmailMessage:
    budget = alert.budget
    money = budget.limit_nano is not None
    with override(language):
        used, limit = (
            f"{plain(value)} {budget.currency}" if money else _("%(count)s tokens") % {"count": f"{value:,}"}
            for value in (alert.spent, alert.limit)
        )
        context = {
            "alert": alert,
            "budget": budget,
            "tenant": alert.tenant,
            "used": used,
            "limit": limit,
            "month": f"{alert.period:%Y-%m}",
        }
        # A line feed in a name must not become a header.
        subject = _("%(tenant)s: budget “%(budget)s” has reached %(threshold)d %%") % {
            "tenant": " ".join(alert.tenant.name.split()),
            "budget": " ".join(budget.name.split()),
            "threshold": alert.threshold,
        }
        body = render_to_string("billing/emails/budget.txt", context)
    return EmailMessage(subject=subject, body=body, to=[address])

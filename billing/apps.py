"""The billing application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    """Usage records."""

    name = "billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        """Tell the catalogue of data what this application keeps."""
        from billing.governance import declare

        declare()

        from console.extensions import NavEntry, add_entry

        add_entry(NavEntry(_("Usage and cost"), "billing:usage", "chart", "billing.cost.read", order=20))
        add_entry(NavEntry(_("Billing"), "billing:money", "wallet", "billing.wallet.read", order=50))

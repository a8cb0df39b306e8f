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

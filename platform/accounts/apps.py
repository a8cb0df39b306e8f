"""Registration of the accounts application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """People and how they sign in."""

    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        """Tell the catalogue of data what this application keeps."""
        from accounts.governance import declare

        declare()

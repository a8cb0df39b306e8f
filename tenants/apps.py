"""Registration of the tenants application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TenantsConfig(AppConfig):
    """Tenants and members."""

    name = "tenants"
    verbose_name = _("Tenants")

    def ready(self) -> None:
        """Tell the catalogue of data what this application keeps."""
        from tenants.governance import declare

        declare()

"""Registration of the access application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    """API keys and permissions."""

    name = "access"
    verbose_name = _("Access")

    def ready(self) -> None:
        """Tell the catalogue of data what this application keeps."""
        from access.governance import declare

        declare()

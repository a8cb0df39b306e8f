"""Registration of the safety application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SafetyConfig(AppConfig):
    """Rules that every text passes, in and out."""

    name = "safety"
    verbose_name = _("Safety")

    def ready(self) -> None:
        """Say what data there is."""
        from safety.governance import declare

        declare()

"""Registration of the audit application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    """The audit trail."""

    name = "audit"
    verbose_name = _("Audit trail")

    def ready(self) -> None:
        """Listen to the apps below."""
        from audit import receivers  # noqa: F401  (connects by being imported)
        from audit.governance import declare

        declare()

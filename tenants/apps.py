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

        from console.extensions import NavEntry, add_entry

        add_entry(NavEntry(_("API keys"), "tenant:keys", "key", "access.key.read", order=40))
        add_entry(NavEntry(_("Members"), "tenant:members", "people", "tenants.member.read", order=60))
        add_entry(NavEntry(_("Safety"), "tenant:safety", "shield", "safety.hit.read", order=35))
        add_entry(NavEntry(_("Audit"), "tenant:audit", "book", "audit.event.read", order=70))

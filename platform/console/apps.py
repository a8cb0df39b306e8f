"""Registration of the console."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConsoleConfig(AppConfig):
    """Pages for people."""

    name = "console"
    verbose_name = _("Console")

    def ready(self) -> None:
        """The shell's own lines of the navigation."""
        from console.extensions import NavEntry, add_entry

        add_entry(NavEntry(_("Home"), "console:home", "home", order=0))
        add_entry(NavEntry(_("Playground"), "console:playground", "chat", order=10))

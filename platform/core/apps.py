"""The kernel's Django application: registers the system checks."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Kernel."""

    name = "core"

    def ready(self) -> None:
        """Register the checks."""
        from core import (
            checks,  # noqa: F401  (registers by being imported)
            plumbing,
        )

        plumbing.declare()

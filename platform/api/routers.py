"""The router. Its registry is what the isolation and permission tests are generated from."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter


class Router(SimpleRouter):
    """DRF's SimpleRouter; PATCH where a viewset has `partial_update`, PUT only where it has `update`."""

    def join(self, other: Router) -> None:
        """Take over everything that another router (an app's) has registered."""
        self.registry.extend(other.registry)

"""The REST plumbing's Django application."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """REST plumbing."""

    name = "api"

    def ready(self) -> None:
        """Teach the OpenAPI generator our authentication and fields."""
        from api import openapi  # noqa: F401  (registers by being imported)
        from api.governance import declare

        declare()

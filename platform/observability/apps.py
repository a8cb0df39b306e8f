"""Observability's Django application: sets up the logs of whichever process starts it."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings


class ObservabilityConfig(AppConfig):
    """Logs, health, doctor."""

    name = "observability"

    def ready(self) -> None:
        """Configure the logs, and keep Celery from replacing them with its own."""
        from celery.signals import setup_logging

        from observability import logs

        logs.configure(settings.LOG_LEVEL)
        setup_logging.connect(_keep_ours, dispatch_uid="observability.logs", weak=False)


def _keep_ours(loglevel: int | str | None = None, **_: object) -> None:
    """Celery's question "who sets up logging?": we do, at the level that its command line names."""
    from observability import logs

    logs.configure(loglevel or settings.LOG_LEVEL)

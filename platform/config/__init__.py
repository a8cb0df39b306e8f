"""Composition root: settings, URL map, ASGI entry, Celery application. Nobody may import it."""

from config.celery import app as celery_app

__all__ = ["celery_app"]

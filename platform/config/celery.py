"""The Celery application: places engines, runs jobs. Requests never travel through it (docs/adr/0005)."""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

from django.conf import settings


def broker_url(url: str) -> str:
    """kombu's spelling of a unix socket's address (`redis+socket://`) out of redis-py's (`unix://`)."""
    if not url.startswith("unix://"):
        return url
    return "redis+socket://" + url.removeprefix("unix://").replace("?db=", "?virtual_host=")


app = Celery("atrium")
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    # Messages of Atrium stand beside its other keys in one Valkey.
    broker_transport_options={
        "global_keyprefix": "atrium:celery:",
        # `inference.serve` runs for as long as a replica is wanted and is acknowledged when it starts, so no
        # redelivery is relied on: the reconciler sends a lost replica again.
        "visibility_timeout": 3600,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_default_queue="jobs",
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    worker_enable_remote_control=True,
    timezone="UTC",
    enable_utc=True,
    redbeat_redis_url=settings.REDIS_URL,
    redbeat_key_prefix="atrium:beat:",
    redbeat_lock_timeout=15,
    beat_max_loop_interval=1,
    beat_schedule={
        "reconcile": {"task": "inference.reconcile", "schedule": 1.0, "options": {"expires": 2}},
        "ingest-usage": {"task": "inference.ingest_usage", "schedule": 1.0, "options": {"expires": 2}},
        "reap-requests": {"task": "inference.reap_requests", "schedule": 10.0, "options": {"expires": 10}},
        "sweep-holds": {"task": "inference.sweep_holds", "schedule": 5.0, "options": {"expires": 5}},
        "keep-engine-totals": {
            "task": "inference.keep_engine_totals",
            "schedule": 10.0,
            "options": {"expires": 10},
        },
        "safety-hits": {"task": "safety.ingest_hits", "schedule": 2.0, "options": {"expires": 4}},
        "safety-forget": {"task": "safety.forget_old", "schedule": 3600.0, "options": {"expires": 600}},
        "flush-key-use": {"task": "access.flush_key_use", "schedule": 30.0, "options": {"expires": 30}},
        "audit-seal": {"task": "audit.seal", "schedule": 2.0, "options": {"expires": 4}},
        "audit-verify": {
            "task": "audit.verify",
            "schedule": crontab(hour="3", minute="47"),
            "options": {"expires": 3600},
        },
        "forget-idempotency-keys": {
            "task": "api.forget_idempotency_keys",
            "schedule": 3600.0,
            "options": {"expires": 600},
        },
        "ingest-call-logs": {
            "task": "inference.ingest_call_logs",
            "schedule": 1.0,
            "options": {"expires": 2},
        },
        "call-log-partitions": {
            "task": "inference.keep_log_partitions_ahead",
            "schedule": 3600.0,
            "options": {"expires": 600},
        },
        "retention": {
            "task": "tenants.apply_retention",
            "schedule": crontab(hour="4", minute="7"),
            "options": {"expires": 3600},
        },
        "erase-closed": {"task": "tenants.erase_closed", "schedule": 3600.0, "options": {"expires": 600}},
        "billing-partitions": {
            "task": "billing.keep_partitions_ahead",
            "schedule": 3600.0,
            "options": {"expires": 600},
        },
        "billing-budgets": {"task": "billing.watch_budgets", "schedule": 60.0, "options": {"expires": 60}},
        "billing-alerts": {"task": "billing.send_alerts", "schedule": 30.0, "options": {"expires": 30}},
        "billing-invoices": {
            "task": "billing.keep_invoices_up",
            "schedule": 900.0,
            "options": {"expires": 600},
        },
        "billing-verification": {
            "task": "billing.verify_ledgers",
            "schedule": crontab(hour="2", minute="41"),
            "options": {"expires": 3600},
        },
        "billing-reconciliation": {
            "task": "billing.reconcile",
            "schedule": crontab(hour="3", minute="17"),
            "options": {"expires": 3600},
        },
    },
)
app.autodiscover_tasks()

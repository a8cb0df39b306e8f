"""Writes of this app: `events` that say what somebody did; `sealing`, `checkpoints`, `verification` and `erasure` of
chains."""

from audit.services.events import record, record_export, record_platform_access, record_view

__all__ = ["record", "record_export", "record_platform_access", "record_view"]

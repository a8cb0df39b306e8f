"""The audit trail's two ways to write: what somebody did, and that staff looked across tenants."""

from audit.services.events import record, record_platform_access

__all__ = ["record", "record_platform_access"]

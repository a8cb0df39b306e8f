"""Work for other processes, sent by task name once the transaction has committed (docs/adr/0003).

SECURITY: arguments are ids and small numbers only. No prompt, key or token may travel in a Celery message
(L19).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import Task, current_app
from django.db import transaction

from core.scoping import tenant_scope


def enqueue(
    name: str,
    *,
    tenant_id: UUID | None = None,
    queue: str = "jobs",
    expires_s: float | None = None,
    **ids: Any,
) -> None:
    """Send task `name` after commit. With `tenant_id` the task runs inside that tenant's scope
    (TenantTask)."""
    headers = {"tenant_id": str(tenant_id)} if tenant_id else {}

    def send() -> None:
        current_app.send_task(
            name, kwargs=ids, queue=queue, headers=headers, expires=expires_s, ignore_result=True
        )

    transaction.on_commit(send)


class TenantTask(Task):
    """Base of tasks that work for one tenant: refuses to run without one, and runs inside its scope."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run inside the scope of the tenant that the message's header names."""
        tenant_id = (self.request.headers or {}).get("tenant_id") or getattr(self.request, "tenant_id", None)
        if not tenant_id:
            raise RuntimeError(f"task {self.name} was sent without a tenant")
        with tenant_scope(UUID(str(tenant_id))):
            return super().__call__(*args, **kwargs)

"""Rule sets that are published, damaged and looked at, for the tests of what processes load."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from audit.models import AuditEvent
from core.actors import Actor
from core.scoping import platform_scope, tenant_scope
from safety.loading import Guarded
from safety.models import TenantSafety
from safety.owners import Owner
from safety.services import rules, versions
from safety.spec import Direction
from tenants.models import Tenant
from tests.factories import safety as factories

WORD = {"kind": "terms", "category": "weather"}


def publish(tenant: Tenant, actor: Actor, **words: str) -> None:
    """Put rules in force, by name: the words that they block."""
    owner = Owner(tenant.pk)
    with tenant_scope(tenant.pk):
        for name, word in words.items():
            rules.create(owner=owner, actor=actor, name=name, terms=[word], action_in="block", **WORD)
        versions.publish(owner=owner, actor=actor)


def trail(action: str) -> list[AuditEvent]:
    with platform_scope("tests"):
        return list(AuditEvent.objects.filter(action=action).order_by("id"))


def refuses(guarded: Guarded, text: str) -> bool:
    return guarded.check(text, Direction.IN).refused is not None


def run(work: Callable[[], Any]) -> Any:
    """Run a coroutine function on a loop of its own, and end what it left behind."""
    return asyncio.run(work())


def damage(tenant: Tenant, number: int) -> None:
    """Put another version in force whose content is not what its digest says."""
    factories.RuleSetVersionFactory(tenant=tenant, number=number, digest="0" * 64)
    with platform_scope("tests"):
        TenantSafety.objects.update_or_create(tenant=tenant, defaults={"version": number})


def count_queries(work: Callable[[], Any]) -> int:
    """How many statements any thread sends while `work` runs."""
    seen: list[str] = []
    lock = threading.Lock()
    from django.db.backends.utils import CursorWrapper

    before = CursorWrapper._execute_with_wrappers

    def counted(self: Any, sql: str, params: Any, many: bool, executor: Any) -> Any:
        with lock:
            seen.append(sql)
        return before(self, sql, params, many, executor)

    CursorWrapper._execute_with_wrappers = counted  # type: ignore[method-assign]
    try:
        work()
    finally:
        CursorWrapper._execute_with_wrappers = before  # type: ignore[method-assign]
    return len(seen)

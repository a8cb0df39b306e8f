"""Whose rules: the platform's or one tenant's. Services work on both alike; this says which tables are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.events import announce
from core.ids import public_id
from safety.models import (
    PlatformRule,
    PlatformRuleSetVersion,
    PlatformSafety,
    PlatformWordList,
    Rule,
    RuleSetVersion,
    TenantSafety,
    WordList,
)

PLATFORM_SET = "platform"


@dataclass(frozen=True, slots=True)
class Owner:
    """The platform (`tenant_id` none) or a tenant."""

    tenant_id: UUID | None = None

    @property
    def is_platform(self) -> bool:
        """True for the platform."""
        return self.tenant_id is None

    @property
    def rules(self) -> Any:
        """The model of its rules."""
        return PlatformRule if self.tenant_id is None else Rule

    @property
    def lists(self) -> Any:
        """The model of its word lists."""
        return PlatformWordList if self.tenant_id is None else WordList

    @property
    def versions(self) -> Any:
        """The model of its published versions."""
        return PlatformRuleSetVersion if self.tenant_id is None else RuleSetVersion

    @property
    def heads(self) -> Any:
        """The model of the row that says which version is in force."""
        return PlatformSafety if self.tenant_id is None else TenantSafety

    @property
    def mine(self) -> dict[str, Any]:
        """The columns that make a row this owner's."""
        return {} if self.tenant_id is None else {"tenant_id": self.tenant_id}

    @property
    def set_id(self) -> str:
        """The id of its rule set, as `spec.RuleSet` has it."""
        return PLATFORM_SET if self.tenant_id is None else public_id("ten", self.tenant_id)

    def permission(self, name: str) -> str:
        """The permission for `name` ("rule.change"); the platform's rules are one matter, whatever is done."""
        if self.tenant_id is not None:
            return f"safety.{name}"
        return f"safety.platform.{name.rpartition('.')[2] if name.endswith(('.read', '.try')) else 'change'}"

    def verb(self, name: str) -> str:
        """The audit trail's word for `name` ("rule.created")."""
        return f"safety.{name}" if self.tenant_id is not None else f"safety.platform_{name}"

    def announce(self) -> None:
        """Tell every process, after the commit, that what holds for this owner has changed."""
        announce("safety", tenant_id=self.tenant_id)


PLATFORM = Owner()


def owner_of(row: Any) -> Owner:
    """The owner of a rule, list, version or settings row."""
    return Owner(getattr(row, "tenant_id", None))

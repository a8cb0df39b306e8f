"""Who does something: a person, a key, or the system itself. Every service takes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Actor:
    """The doer of a change, as the audit trail will name it.

    `kind` person | key | system; `id` of the user or key (none for the system); `label` an e-mail address,
    a key's name or a job's name; `role` the member's role in the active tenant; `platform_role` operator |
    support | platform_auditor | ""; `scopes` what a key opens (invoke, read, manage), empty for people.
    """

    kind: Literal["person", "key", "system"]
    label: str
    id: UUID | None = None
    role: str = ""
    platform_role: str = ""
    address: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def is_operator(self) -> bool:
        """True for the platform's operators and for the system itself."""
        return self.kind == "system" or self.platform_role == "operator"


def system(job: str) -> Actor:
    """The system acting for itself, e.g. `system("reconciler")`."""
    return Actor(kind="system", label=job)

"""What the console shows but layers above it know: they register it here from their `AppConfig.ready`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.utils.functional import Promise


@dataclass(frozen=True, slots=True)
class CallableModel:
    """A model that may be called, by its public name. `context_length` in tokens, where it is known."""

    name: str
    task: str
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class NavEntry:
    """A line of the console's navigation.

    `permission` (access.policies) hides it from those who lack it; the view behind it decides for itself. Lines of a
    tenant's pages are for people who have a tenant; those with `is_platform` for staff without one too.
    `icon` names a symbol of static/src/icons.svg.
    """

    label: Promise | str
    url_name: str
    icon: str
    permission: str = ""
    order: int = 100
    is_platform: bool = False


ModelsOf = Callable[[UUID, UUID], list[CallableModel]]

_models_of: list[ModelsOf] = []
_entries: list[NavEntry] = []


def provide_models(models_of: ModelsOf) -> None:
    """Say which models a member (tenant's id, account's id) may call; called inside the tenant's scope."""
    _models_of[:] = [models_of]


def models_of(tenant_id: UUID, user_id: UUID) -> list[CallableModel]:
    """The models that a member may call, by name; none while no application provides any."""
    return _models_of[0](tenant_id, user_id) if _models_of else []


def add_entry(entry: NavEntry) -> None:
    """Add a line to the navigation. Idempotent."""
    if entry not in _entries:
        _entries.append(entry)
        _entries.sort(key=lambda known: known.order)


def entries() -> list[NavEntry]:
    """All lines of the navigation, in their order."""
    return list(_entries)

"""What every page of the shell shows around its content. Lazy: error pages must not need a database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import get_language

from access.policies import can
from console.extensions import NavEntry, entries


@dataclass(frozen=True, slots=True)
class NavLink:
    """One line of the navigation as it is drawn."""

    label: Promise | str
    url: str
    icon: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """One language of the switch, in its own words."""

    code: str
    name: str
    is_current: bool


# Names of languages stand in their own language wherever they are offered.
LANGUAGE_NAMES = {"en": "English", "zh-hans": "简体中文"}


class Shell:
    """`shell` in templates."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def tenant(self) -> Any:
        """The active tenant; none before sign-in and for people without a membership."""
        return getattr(self._request, "tenant", None)

    @cached_property
    def memberships(self) -> list[Any]:
        """The signed-in person's memberships, with their tenants."""
        return list(getattr(self._request, "memberships", ()))

    @cached_property
    def membership(self) -> Any:
        """The membership in the active tenant."""
        return getattr(self._request, "membership", None)

    @cached_property
    def person(self) -> Any:
        """The signed-in person, or none."""
        user = getattr(self._request, "user", None)
        return user if user is not None and user.is_authenticated else None

    @cached_property
    def nav(self) -> list[NavLink]:
        """The lines of the navigation that this person may use."""
        return [self._link(entry) for entry in entries() if self._may_see(entry)]

    @cached_property
    def languages(self) -> list[LanguageChoice]:
        """The languages that the console speaks."""
        current = get_language()
        return [
            LanguageChoice(code, LANGUAGE_NAMES.get(code, str(name)), code == current)
            for code, name in settings.LANGUAGES
        ]

    @property
    def here(self) -> str:
        """The page to come back to after the language or the tenant has changed."""
        return self._request.get_full_path()

    @property
    def html_lang(self) -> str:
        """The language tag of the page, as BCP 47 writes it."""
        return {"zh-hans": "zh-Hans"}.get(get_language() or "", get_language() or "en")

    def _may_see(self, entry: NavEntry) -> bool:
        actor = getattr(self._request, "actor", None)
        if not entry.permission:
            return True
        return (
            actor is not None
            and can(actor, entry.permission)
            and (entry.is_platform or bool(self.membership))
        )

    def _link(self, entry: NavEntry) -> NavLink:
        url = reverse(entry.url_name)
        here = self._request.path
        return NavLink(
            entry.label,
            url,
            entry.icon,
            here == url or (entry.url_name != "console:home" and here.startswith(url)),
        )


def shell(request: HttpRequest) -> dict[str, Any]:
    """The shell's part of every template's context. Costs nothing until a template asks."""
    return {"shell": Shell(request)}

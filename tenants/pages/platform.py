"""Pages of the platform's own people: all tenants' rows, behind the one door that the audit trail knows."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from console.pages import View, may, page_for
from tenants.middleware import platform_view


def platform_page(permission: str, reason: str) -> Callable[[View], View]:
    """A page for staff who have `permission`; everybody else gets 403, strangers sign in first.

    `reason` is what the audit trail says of each visit.
    """

    def admit(request: HttpRequest) -> None:
        if not getattr(request, "has_platform_door", False) or not may(request, permission):
            raise PermissionDenied

    def decorate(view: View) -> View:
        return platform_view(reason)(page_for(admit)(view))

    return decorate

"""Pages of the platform's own people: all tenants' rows, behind the one door that the audit trail knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from console.pages import View, may
from core.errors import NotAllowed, NotFound
from tenants.middleware import platform_view


def platform_page(permission: str, reason: str) -> Callable[[View], View]:
    """A page for staff who have `permission`; everybody else gets 403, strangers sign in first.

    `reason` is what the audit trail says of each visit. NotFound and NotAllowed become 404 and 403.
    """

    def decorate(view: View) -> View:
        @platform_view(reason)
        @login_required
        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not getattr(request, "has_platform_door", False) or not may(request, permission):
                raise PermissionDenied
            try:
                return view(request, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.message) from error
            except NotAllowed as error:
                raise PermissionDenied(error.message) from error

        return page

    return decorate

"""What the pages of all applications share: who may open them, and how the domain's errors reach a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from access.policies import can
from core.actors import Actor
from core.errors import DomainError, NotAllowed, NotFound

View = Callable[..., HttpResponseBase]


def actor_of(request: HttpRequest) -> Actor:
    """Who asks, as the middleware found them. Raises PermissionDenied for a stranger."""
    actor = getattr(request, "actor", None)
    if not isinstance(actor, Actor):
        raise PermissionDenied
    return actor


def may(request: HttpRequest, permission: str) -> bool:
    """Whether whoever asks has a permission; for what a page shows. The service decides for itself."""
    actor = getattr(request, "actor", None)
    return isinstance(actor, Actor) and can(actor, permission)


def page_for(admit: Callable[[HttpRequest], HttpResponseBase | None]) -> Callable[[View], View]:
    """A page for signed-in people whom `admit` lets in: it raises PermissionDenied, or answers in the page's place.

    A stranger is sent to sign in. What the view raises as NotFound and NotAllowed becomes 404 and 403.
    """

    def decorate(view: View) -> View:
        @login_required
        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if (instead := admit(request)) is not None:
                return instead
            try:
                return view(request, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.message) from error
            except NotAllowed as error:
                raise PermissionDenied(error.message) from error

        return page

    return decorate


def tenant_page(permission: str) -> Callable[[View], View]:
    """A page of the active tenant, for those who have `permission`; others get 403.

    A person without a tenant is sent to the home page, which says what to do.
    """

    def admit(request: HttpRequest) -> HttpResponseBase | None:
        if getattr(request, "tenant", None) is None:
            return redirect("console:home")
        if not may(request, permission):
            raise PermissionDenied
        return None

    return page_for(admit)


def put_beside_field(form: forms.Form, error: DomainError) -> None:
    """Show what a service refused beside the field that it is about, or above the form."""
    name = error.field if error.field in form.fields else None
    form.add_error(name, error.message)


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for the part of the page that changes, and not for the page."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.boosted


def site_url(request: HttpRequest) -> str:
    """Where people and programs reach this platform, without a slash at the end."""
    return settings.PUBLIC_BASE_URL.rstrip("/") or f"{request.scheme}://{request.get_host()}"


def base_url(request: HttpRequest) -> str:
    """What OpenAI's clients call their base URL."""
    return f"{site_url(request)}/v1"


def searched(request: HttpRequest, name: str = "q") -> str:
    """What people typed into a search box: at most 100 printable characters, PostgreSQL refuses others."""
    return "".join(char for char in " ".join(request.GET.get(name, "").split()) if char.isprintable())[:100]

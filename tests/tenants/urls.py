"""Views for the tests of the middleware: what a view sees of who asks and of the rows in scope."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views import View

from access.models import APIKey
from core.scoping import ScopeError, current_scope
from tenants.http import ScopedHttpRequest
from tenants.middleware import platform_view


def seen(request: HttpRequest) -> JsonResponse:
    """Who asks, for which tenant, and the names of all keys in sight."""
    assert hasattr(request, "actor")
    scoped: ScopedHttpRequest = request  # type: ignore[assignment]
    scope = current_scope()
    actor, error = scoped.actor, scoped.credential_error
    return JsonResponse(
        {
            "tenant": scoped.tenant.slug if scoped.tenant else None,
            "scope": "platform" if scope.platform else str(scope.tenant_id) if scope.tenant_id else None,
            "door": scoped.has_platform_door,
            "actor": [actor.kind, actor.label, actor.role, actor.platform_role] if actor else None,
            "scopes": sorted(actor.scopes) if actor else [],
            "address": actor.address if actor else None,
            "user": str(request.user),
            "error": [type(error).__name__, error.code, error.message] if error else None,
            "keys": _keys_in_sight(),
        }
    )


async def seen_from_a_loop(request: HttpRequest) -> JsonResponse:
    """The same, as an async view."""
    return await sync_to_async(seen)(request)


def _keys_in_sight() -> list[str] | None:
    try:
        return list(APIKey.objects.order_by("name").values_list("name", flat=True))
    except ScopeError:
        return None


@platform_view("looking across tenants")
def across(request: HttpRequest) -> JsonResponse:
    """A page for staff."""
    return seen(request)


@platform_view("a class that looks across tenants")
class Across(View):
    """A page for staff, as a class."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """The same."""
        return seen(request)


def fails(request: HttpRequest) -> HttpResponse:
    """Changes a row and breaks."""
    APIKey.objects.update(name="half done")
    raise RuntimeError


def refuses(request: HttpRequest) -> HttpResponse:
    """Changes a row and answers that something else was wrong."""
    APIKey.objects.update(name="done")
    return HttpResponse(status=409)


@platform_view("fails behind the door")
def fails_across(request: HttpRequest) -> HttpResponse:
    """Breaks behind the platform door."""
    raise RuntimeError


class Admin:
    """Stands for Django's admin."""

    urls = ([path("keys/", seen, name="keys")], "admin", "admin")


urlpatterns = [
    path("page/", seen),
    path("page/async/", seen_from_a_loop),
    path("api/page/", seen),
    path("across/", across),
    path("across/class/", Across.as_view()),
    path("api/across/", across),
    path("fails/", fails),
    path("refuses/", refuses),
    path("fails/across/", fails_across),
    path("admin/", include((Admin.urls[0], "admin"), namespace="admin")),
]

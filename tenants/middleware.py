"""The door between requests and tenants: finds out who asks for which tenant, and opens its scope around
the view.

Identity comes from the session or from the key, never from a header, path or body that the client chooses
(L5). Membership, key and status are looked up with every request, so that what is revoked is gone at the
next one. A response that streams is produced after the scope has closed: generators take ids and open their
own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _

from access.models import APIKey, KeyState, Scope
from access.networks import is_address_allowed
from access.selectors import key_by_secret
from access.services import usage
from accounts.models import User
from audit.services import record_platform_access
from core import clock
from core.actors import Actor
from core.errors import DomainError, NotAllowed, NotFound
from core.scoping import platform_scope, tenant_scope
from tenants import selectors
from tenants.http import ScopedHttpRequest
from tenants.models import Membership, Role, TenantStatus

SESSION_KEY = "tenant_id"
API_PREFIX = "/api/"
# What `platform_view` leaves on a view; class-based views may set it themselves.
PLATFORM_ATTRIBUTE = "platform_reason"
# Django's admin looks across tenants by its nature; its views cannot be decorated one by one.
ADMIN_NAMESPACE = "admin"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

View = TypeVar("View", bound=Callable[..., Any] | type)


class BadCredential(DomainError):
    """The key in the header is not accepted; why is not told to strangers."""

    code = "bad_credential"


def platform_view(reason: str) -> Callable[[View], View]:
    """Declare that staff see rows of all tenants in this view (function or class), and why, for the audit
    trail.

    For everybody else the view runs in their own tenant's scope as if it were not marked.
    """

    def mark(view: View) -> View:
        setattr(view, PLATFORM_ATTRIBUTE, reason)
        return view

    return mark


def switch_tenant(request: HttpRequest, *, tenant_id: UUID) -> Membership:
    """Make another of the person's tenants the active one, from the next request on. Raises NotFound."""
    for membership in selectors.memberships_of(cast(User, request.user)):
        if membership.tenant_id == tenant_id:
            request.session[SESSION_KEY] = str(tenant_id)
            return membership
    raise NotFound(_("There is no such tenant."))


class TenantMiddleware:
    """Adds who asks and for which tenant to the request (tenants.http), and runs the view inside that
    scope."""

    sync_capable = True
    async_capable = False  # the database scope belongs to one thread's connection

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request inside the scope that it is entitled to; inside none when to no tenant."""
        scoped = cast(ScopedHttpRequest, request)
        scoped.tenant = scoped.actor = scoped.membership = scoped.api_key = scoped.credential_error = None
        scoped.memberships = []
        scoped.has_platform_door = False
        secret = _bearer(request)
        if secret is not None:
            # SECURITY: a key and a session on one request must not add up. The key alone counts.
            request.user = AnonymousUser()
            request._cached_user = request._acached_user = request.user  # type: ignore[attr-defined]
            return self._with_key(scoped, secret)
        if request.user.is_authenticated:
            return self._with_session(scoped)
        return self.get_response(request)

    def _with_key(self, request: ScopedHttpRequest, secret: str) -> HttpResponseBase:
        key = key_by_secret(secret)
        error = _refusal_of_key(key, request)
        if key is None or error is not None:
            request.credential_error = error
            return self.get_response(request)
        with tenant_scope(key.tenant_id):
            tenant = selectors.tenant_by_id(tenant_id=key.tenant_id)
            if tenant.is_active:
                request.tenant = tenant
                request.api_key = key
                request.actor = Actor(
                    kind="key",
                    label=key.name,
                    id=key.pk,
                    address=_address(request),
                    scopes=frozenset(key.scopes),
                )
                usage.note(key=key)
                return self._finish(request)
            request.credential_error = NotAllowed(
                _("This tenant is suspended."), code=f"tenant_{tenant.status}"
            )
        return self.get_response(request)

    def _with_session(self, request: ScopedHttpRequest) -> HttpResponseBase:
        user = request.user
        request.memberships = selectors.memberships_of(user)
        request.membership = active_membership(request.memberships, request.session.get(SESSION_KEY))
        request.actor = _person(user, request.membership, _address(request))
        reason = _platform_reason(request) if user.is_staff else None
        door: AbstractContextManager[None] = nullcontext()
        if reason is not None:
            what = f"{request.method} {request.path}"
            # Committed before the door opens: it stays in the trail when the view fails.
            record_platform_access(actor=request.actor, reason=reason, what=what)
            request.has_platform_door = True
            door = platform_scope(reason)
        elif request.membership is not None:
            request.tenant = request.membership.tenant
            door = tenant_scope(request.membership.tenant_id)
        with door:
            return self._finish(request)

    def _finish(self, request: ScopedHttpRequest) -> HttpResponseBase:
        """The view's answer. What a failed view wrote is taken back: its exception has become a response by
        now."""
        response = self.get_response(request)
        if response.status_code >= 500 and transaction.get_connection().in_atomic_block:
            transaction.set_rollback(True)
        return response


def _bearer(request: HttpRequest) -> str | None:
    """The key in the header of a management request; none when there is no header of that kind."""
    if not request.path.startswith(API_PREFIX):
        return None
    scheme, _separator, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _refusal_of_key(key: APIKey | None, request: HttpRequest) -> DomainError | None:
    """Why the key does not open this request, or none. Unknown, revoked, expired and misplaced sound
    alike."""
    if (
        key is None
        or key.state(clock.now()) != KeyState.ACTIVE
        or not is_address_allowed(key.allowed_networks, _address(request))
    ):
        return BadCredential(_("The API key is not valid."))
    wanted = (
        {Scope.MANAGE.value} if request.method not in SAFE_METHODS else {Scope.READ.value, Scope.MANAGE.value}
    )
    if wanted.isdisjoint(key.scopes):
        return NotAllowed(_("The API key does not have the scope for this."), code="scope_missing")
    return None


def active_membership(memberships: list[Membership], chosen: object) -> Membership | None:
    """The membership that the session names, if it still exists; else the first of a tenant that is
    served."""
    for membership in memberships:
        if str(membership.tenant_id) == chosen:
            return membership
    served = [membership for membership in memberships if membership.tenant.is_active]
    return next(iter(served or memberships), None)


def _person(user: User, membership: Membership | None, address: str) -> Actor:
    role = membership.role if membership is not None else ""
    if membership is not None and membership.tenant.status != TenantStatus.ACTIVE and role != Role.AUDITOR:
        # People of a suspended or closing tenant can look and change nothing, whatever their role. An auditor
        # could not before, and sees other things than a viewer.
        role = Role.VIEWER.value
    return Actor(
        kind="person",
        label=user.email,
        id=user.pk,
        role=role,
        platform_role=user.platform_role if user.is_staff else "",
        address=address,
    )


def _platform_reason(request: HttpRequest) -> str | None:
    """Why the requested view needs the platform door, as it declares itself; none for ordinary views."""
    try:
        match = resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return None
    if match.app_names[:1] == [ADMIN_NAMESPACE]:
        return "administration"
    # A class-based view is reached through the function that as_view() made of it.
    for candidate in (match.func, getattr(match.func, "view_class", None), getattr(match.func, "cls", None)):
        reason = getattr(candidate, PLATFORM_ATTRIBUTE, None)
        if reason is not None:
            return str(reason)
    return None


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))

"""Who is asking. The tenant middleware has found out already; this hands it to DRF and guards against
forgery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from core.actors import Actor
from core.errors import DomainError, NotAllowed

CHALLENGE = 'Bearer realm="atrium"'


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """What stands in for a user when an API key asks: signed in, and nobody in particular."""

    actor: Actor
    is_authenticated: bool = True
    is_anonymous: bool = False
    is_active: bool = True
    pk: None = None

    def __str__(self) -> str:
        return self.actor.label


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> str:
        """The reason itself, in place of a page about it."""
        return reason


class ScopedAuthentication(BaseAuthentication):
    """Takes `request.actor` as `tenants.middleware` set it, from the session or from the API key.

    SECURITY: identity is never read from a header or body here (L5); DRF authenticates too late to open a
    scope around the view, so the middleware does it. A session's unsafe requests need a CSRF token; a key's
    do not, since no browser sends it by itself.
    """

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """The principal and its actor, or none for a stranger."""
        plain = request._request
        actor: Actor | None = getattr(plain, "actor", None)
        if actor is None:
            self._refuse_credential(getattr(plain, "credential_error", None))
            return None
        if actor.kind == "key":
            return KeyPrincipal(actor), actor
        user = getattr(plain, "user", None)
        if user is None or not user.is_active:
            return None
        self._refuse_forgery(plain)
        return user, actor

    def _refuse_credential(self, error: DomainError | None) -> None:
        """Say why an `Authorization` header was not accepted: 403 for a key that is known, else 401."""
        if isinstance(error, NotAllowed):
            raise error
        if error is not None:
            raise AuthenticationFailed(error.message, code=error.code)

    def _refuse_forgery(self, request: HttpRequest) -> None:
        check = _CsrfCheck(lambda _request: None)  # type: ignore[arg-type]
        check.process_request(request)
        if check.process_view(request, None, (), {}):  # type: ignore[arg-type]
            raise PermissionDenied(
                _("The CSRF token is missing or wrong. Send it as the header X-CSRFToken.")
            )

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return CHALLENGE

"""Permissions as data: a viewset names one permission of `access.policies` per action, or the action is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from django.utils.translation import gettext as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access import policies
from core.actors import Actor
from core.errors import NotAllowed

# What an action declares that everybody who is signed in may do, e.g. to ask who they are.
SIGNED_IN = "signed_in"

if TYPE_CHECKING:  # DRF's settings name this class, so its views may not be imported yet
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)


class DeclaredPermission(BasePermission):
    """Allows an action whose declared permission the actor's role (or key's scope) has.

    SECURITY: an action that declares nothing is refused, so that a forgotten line costs a feature and not a
    wall.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True, False for strangers (401), or NotAllowed (403)."""
        actor = request.auth
        if not isinstance(actor, Actor):
            return False
        action: str | None = getattr(view, "action", None)
        if action is None or (request.method or "").lower() not in view.http_method_names:
            return True  # no handler for this method: the view answers 405
        permission = declared(view, action)
        if permission is None:
            log.error("api.permission.undeclared", view=type(view).__name__, action=action)
            raise NotAllowed(_("Nobody may do this: it declares no permission."))
        if permission != SIGNED_IN:
            policies.require(actor, permission)
        return True


def declared(view: Any, action: str) -> str | None:
    """The permission that `view` (an instance or a class) declares for `action`."""
    permissions: dict[str, str] = getattr(view, "permissions", {})
    return permissions.get(action)

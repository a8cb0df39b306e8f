"""Who may change accounts: the platform's operators, and everybody their own name, language and password."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.models import User
from core.actors import Actor
from core.errors import NotAllowed


def require_operator(actor: Actor) -> None:
    """Raise NotAllowed unless `actor` runs the platform."""
    if not actor.is_operator:
        raise NotAllowed(_("Only the platform's operators may do this."))


def require_self_or_operator(actor: Actor, user: User) -> None:
    """Raise NotAllowed unless the account is the actor's own or the actor runs the platform."""
    if not (actor.kind == "person" and actor.id == user.pk):
        require_operator(actor)

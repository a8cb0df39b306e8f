"""Hears what the apps below tell: changes of accounts, and people who sign in and out or fail to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import throttle
from accounts.models import User, normalise_email
from accounts.signals import account_changed
from audit.services import record, record_view
from core.actors import Actor
from core.encryption import keyed_digest
from core.staff import staff_looked


@receiver(account_changed, dispatch_uid="audit.account_changed")
def on_account_changed(user: User, actor: Actor, action: str, **details: Any) -> None:
    """Write the change of an account, in its transaction."""
    record(
        action,
        actor=actor,
        target=user,
        reason=details["reason"],
        before=details["before"],
        after=details["after"],
    )


@receiver(user_logged_in, dispatch_uid="audit.signed_in")
def on_signed_in(user: User, request: HttpRequest | None = None, **_: Any) -> None:
    """Write that a session began."""
    record("accounts.session.opened", actor=_person(user, request), target=user)


@receiver(user_logged_out, dispatch_uid="audit.signed_out")
def on_signed_out(user: User | None, request: HttpRequest | None = None, **_: Any) -> None:
    """Write that a session ended; one without an account leaves nothing to write."""
    if user is not None:
        record("accounts.session.closed", actor=_person(user, request), target=user)


@receiver(user_login_failed, dispatch_uid="audit.sign_in_failed")
def on_sign_in_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Write a failed attempt.

    SECURITY: of one at an account that does not exist, what was typed is not kept: people type passwords into
    the wrong field. A short keyed digest of it tells that the same was tried again. Attempts that the throttle
    turns away are not written, so that a guesser cannot fill the trail.
    """
    email = normalise_email(str(credentials.get("username") or credentials.get(User.USERNAME_FIELD) or ""))
    guesser = Actor(kind="person", label="", address=_address(request))
    if throttle.is_blocked(email=email, address=guesser.address):
        return
    user = User.objects.filter(email=email).first()
    if user is not None:
        record("accounts.session.refused", actor=guesser, target=user)
    else:
        tried = keyed_digest("unknown-account", email)[:12]
        record("accounts.session.refused_unknown", actor=guesser, after={"tried": tried})


@receiver(staff_looked, dispatch_uid="audit.staff_looked")
def on_staff_looked(row: Any, actor: Actor, what: str, **_: Any) -> None:
    """Write into a tenant's own trail that the platform's staff looked at one of its objects."""
    record_view(actor=actor, row=row, what=what)


def _person(user: User, request: HttpRequest | None) -> Actor:
    return Actor(
        kind="person",
        id=user.pk,
        label=user.email,
        platform_role=user.platform_role,
        address=_address(request),
    )


def _address(request: HttpRequest | None) -> str:
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""

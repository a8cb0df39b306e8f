"""Making and changing accounts. Every change is told to the layers above (accounts.signals)."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import Language, PlatformRole, User, normalise_email
from accounts.policies import require_operator, require_self_or_operator
from accounts.signals import account_changed
from core.actors import Actor
from core.errors import Conflict, InvalidInput


@transaction.atomic
def create(
    *,
    actor: Actor,
    email: str,
    name: str = "",
    password: str | None = None,
    language: str = Language.ENGLISH,
    platform_role: str = PlatformRole.NONE,
) -> User:
    """A new account. Raises NotAllowed, InvalidInput, Conflict when the address is taken.

    Without a password nobody can sign in to it until one is set.
    """
    require_operator(actor)
    user = User(
        email=_clean_email(email),
        name=_clean_name(name),
        language=_one_of(Language.values, language, "language"),
        platform_role=_one_of(PlatformRole.values, platform_role, "platform_role"),
    )
    if User.objects.filter(email=user.email).exists():
        raise Conflict(_("An account with this e-mail address exists already."), field="email")
    _give_password(user, password)
    user.save(force_insert=True)
    _tell("accounts.user.created", user, actor, after={"email": user.email, "platform_role": platform_role})
    return user


@transaction.atomic
def change_profile(*, user: User, actor: Actor, name: str | None = None, language: str | None = None) -> User:
    """Change the name, the language or both. Raises NotAllowed, InvalidInput."""
    require_self_or_operator(actor, user)
    before = {"name": user.name, "language": user.language}
    if name is not None:
        user.name = _clean_name(name)
    if language is not None:
        user.language = _one_of(Language.values, language, "language")
    after = {"name": user.name, "language": user.language}
    if after != before:
        user.save(update_fields=["name", "language", "updated_at"])
        _tell("accounts.user.changed", user, actor, before=before, after=after)
    return user


@transaction.atomic
def set_password(*, user: User, actor: Actor, password: str) -> User:
    """Replace the password; every session of the account ends, since its hash is part of them.

    Raises NotAllowed, InvalidInput for a weak one.
    """
    require_self_or_operator(actor, user)
    _give_password(user, password)
    user.save(update_fields=["password", "updated_at"])
    _tell("accounts.user.password_set", user, actor)
    return user


@transaction.atomic
def set_platform_role(*, user: User, actor: Actor, platform_role: str, reason: str = "") -> User:
    """Make a person operator or support, or neither. Raises NotAllowed, InvalidInput, Conflict for
    oneself."""
    require_operator(actor)
    _refuse_oneself(actor, user)
    before = user.platform_role
    user.platform_role = _one_of(PlatformRole.values, platform_role, "platform_role")
    if user.platform_role != before:
        user.save(update_fields=["platform_role", "updated_at"])
        _tell(
            "accounts.user.platform_role_changed",
            user,
            actor,
            reason=reason,
            before={"platform_role": before},
            after={"platform_role": user.platform_role},
        )
    return user


@transaction.atomic
def set_active(*, user: User, actor: Actor, is_active: bool, reason: str = "") -> User:
    """Let a person sign in or not; at once, since every request looks. Raises NotAllowed, Conflict for
    oneself."""
    require_operator(actor)
    _refuse_oneself(actor, user)
    if user.is_active != is_active:
        user.is_active = is_active
        user.save(update_fields=["is_active", "updated_at"])
        action = "accounts.user.activated" if is_active else "accounts.user.deactivated"
        _tell(action, user, actor, reason=reason)
    return user


def _clean_email(email: str) -> str:
    cleaned = normalise_email(email)
    try:
        validate_email(cleaned)
    except ValidationError:
        raise InvalidInput(_("This is not an e-mail address."), field="email") from None
    if len(cleaned) > 254:
        raise InvalidInput(_("This e-mail address is too long."), field="email")
    return cleaned


def _clean_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if len(cleaned) > 150 or not cleaned.isprintable():
        raise InvalidInput(
            _("A name has at most %(count)d printable characters.") % {"count": 150}, field="name"
        )
    return cleaned


def _one_of(known: list[str], value: str, field: str) -> str:
    if value not in known:
        raise InvalidInput(
            _("“%(value)s” is not one of: %(known)s.")
            % {"value": value[:50], "known": ", ".join(filter(None, known))},
            field=field,
        )
    return value


def _give_password(user: User, password: str | None) -> None:
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages), field="password") from None
    user.set_password(password)


def _refuse_oneself(actor: Actor, user: User) -> None:
    if actor.kind == "person" and actor.id == user.pk:
        raise Conflict(_("You cannot take this right from yourself. Ask another operator."))


def _tell(
    action: str,
    user: User,
    actor: Actor,
    *,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    account_changed.send(
        sender=User, user=user, actor=actor, action=action, reason=reason, before=before, after=after
    )

"""Signing in with a password, bounded; and what the platform's staff may do in Django's admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import Model
from django.http import HttpRequest

from accounts import throttle
from accounts.models import PlatformRole, User


class ThrottledModelBackend(ModelBackend):
    """E-mail and password, with bounds on guessing (accounts.throttle).

    An unknown address costs as much time as a wrong password, and a blocked attempt costs the same for
    both, so that neither tells whether an account exists.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """The account, or none: unknown, wrong, inactive and too many attempts look alike."""
        email = username if username is not None else kwargs.get(User.USERNAME_FIELD)
        if email is None or password is None:
            return None
        address = str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""
        if not throttle.admit(email=email, address=address):
            return None
        user = super().authenticate(request, username=email, password=password)
        if user is not None:
            throttle.succeeded(email=email, address=address)
        return user

    def has_perm(
        self, user_obj: AbstractBaseUser | AnonymousUser, perm: str, obj: Model | None = None
    ) -> bool:
        """Model-wide permissions of staff: operators all, support to view. Of objects, guardian's backend
        decides."""
        if obj is not None or not isinstance(user_obj, User) or not user_obj.is_staff:
            return False
        if user_obj.platform_role == PlatformRole.OPERATOR:
            return True
        return perm.rpartition(".")[2].startswith("view_")

    def has_module_perms(self, user_obj: AbstractBaseUser | AnonymousUser, app_label: str) -> bool:
        """True for staff: every application has something to view."""
        return isinstance(user_obj, User) and user_obj.is_staff

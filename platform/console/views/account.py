"""The signed-in person's own account: name and password."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters

from accounts.models import User
from accounts.services import users
from console.forms import PasswordForm, ProfileForm
from core.actors import Actor


@method_decorator(sensitive_post_parameters(), name="dispatch")
@method_decorator(login_required, name="dispatch")
class AccountView(View):
    """Two forms on one page; which one was sent is told by the button that sent it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Both forms, as things are."""
        user = cast(User, request.user)
        return self._page(request, ProfileForm(initial={"name": user.name}), PasswordForm(request=request))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Change what was sent."""
        user = cast(User, request.user)
        actor = cast(Actor, getattr(request, "actor", None))
        profile, password = ProfileForm(initial={"name": user.name}), PasswordForm(request=request)
        if "password" in request.POST:
            password = PasswordForm(request.POST, request=request)
            if password.is_valid():
                users.set_password(user=user, actor=actor, password=password.cleaned_data["new"])
                # This browser stays signed in; all others are signed out.
                update_session_auth_hash(request, user)
                messages.success(request, _("Your password has been changed. Other browsers are signed out."))
                return redirect("console:account")
        else:
            profile = ProfileForm(request.POST)
            if profile.is_valid():
                users.change_profile(user=user, actor=actor, name=profile.cleaned_data["name"])
                messages.success(request, _("Saved."))
                return redirect("console:account")
        return self._page(request, profile, password, status=422)

    def _page(
        self, request: HttpRequest, profile: ProfileForm, password: PasswordForm, status: int = 200
    ) -> HttpResponse:
        context = {"profile": profile, "password": password}
        return render(request, "console/account.html", context, status=status)

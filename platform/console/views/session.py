"""Signing in and out, choosing a tenant and a language."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.models import User
from accounts.services import users
from console.forms import SignInForm

# Where tenants.middleware looks for the active tenant; a test holds the two together.
TENANT_SESSION_KEY = "tenant_id"
LANGUAGE_COOKIE_AGE_S = 365 * 24 * 3600


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class SignInView(LoginView):
    """E-mail address and password, bounded by accounts.backends.ThrottledModelBackend."""

    template_name = "console/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign in, and speak the person's own language from here on, on any machine."""
        response = super().form_valid(form)
        _remember_language(response, cast(User, self.request.user).language)
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        """The form again, as 422, so that no cache or password manager takes it for a success."""
        return self.render_to_response(self.get_context_data(form=form), status=422)


class SignOutView(LogoutView):
    """Ends the session (POST only); chats that are open on its behalf end with it."""

    http_method_names = ["post", "options"]


@require_POST
@login_required
def switch_tenant(request: HttpRequest) -> HttpResponse:
    """Make another of the person's tenants the active one. Any other tenant is 404 (L17)."""
    wanted = request.POST.get("tenant", "")
    for membership in getattr(request, "memberships", ()):
        if membership.tenant.public_id == wanted:
            request.session[TENANT_SESSION_KEY] = str(membership.tenant_id)
            return HttpResponseRedirect(_way_back(request, "console:home"))
    raise Http404(_("There is no such tenant."))


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Show the console in another language, and remember it for the signed-in person. Unknown ones change nothing."""
    response = HttpResponseRedirect(_way_back(request, "root"))
    language = request.POST.get("language", "")
    if language in dict(settings.LANGUAGES):
        _remember_language(response, language)
        actor = getattr(request, "actor", None)
        if request.user.is_authenticated and actor is not None:
            users.change_profile(user=request.user, actor=actor, language=language)
    return response


def _remember_language(response: HttpResponse, language: str) -> None:
    if language in dict(settings.LANGUAGES):
        translation.activate(language)
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            language,
            max_age=LANGUAGE_COOKIE_AGE_S,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def _way_back(request: HttpRequest, otherwise: str) -> str:
    """The page that the form came from, if it is one of ours (no open redirect)."""
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        return back
    return resolve_url(otherwise)

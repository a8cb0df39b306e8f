"""Django's admin as support staff's desk: our own read-mostly pages, no other, and no sign-in of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.sites import UnfoldAdminSite

from core.staff import StaffAdmin, is_staff

# Unfold draws with Alpine.js, which evaluates expressions, and with inline styles. Only /admin/ allows both.
POLICY = {
    "script-src": ["'self'", "'unsafe-eval'"],
    "style-src": ["'self'", "'unsafe-inline'"],
}


class SupportSite(UnfoldAdminSite):
    """The admin site. People sign in and out, and change their password, in the console."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Take pages that are built on `core.staff.StaffAdmin`; leave out what libraries register by
        themselves.

        SECURITY: Django's own Group page, for one, would let grants be edited past services and audit.
        """
        if admin_class is not None and issubclass(admin_class, StaffAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """People with a platform role."""
        return is_staff(request)

    def admin_view(
        self, view: Callable[..., HttpResponseBase], cacheable: bool = False
    ) -> Callable[..., HttpResponseBase]:
        """Every page with the content security policy that Unfold needs."""
        return csp_update(POLICY)(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """On to the page that was asked for; strangers go by the console's sign-in, which bounds guessing.

        Signed-in people without a platform role are refused.
        """
        wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
        if not url_has_allowed_host_and_scheme(
            wanted, {request.get_host()}, require_https=request.is_secure()
        ):
            wanted = reverse("admin:index", current_app=self.name)
        if self.has_permission(request):
            return HttpResponseRedirect(wanted)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(wanted, settings.LOGIN_URL)

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """Leave through the console as well."""
        if request.method == "POST":
            logout(request)
        return redirect_to_login("/", settings.LOGIN_URL)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """Nothing is written here past services: passwords are changed in the console."""
        raise Http404

    def password_change_done(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """See `password_change`."""
        raise Http404

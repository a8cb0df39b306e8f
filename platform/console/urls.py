"""Pages of the shell, under /console/."""

from __future__ import annotations

from django.urls import path

from console.views import account, pages, session

app_name = "console"
urlpatterns = [
    path("", pages.home, name="home"),
    path("playground/", pages.playground, name="playground"),
    path("account/", account.AccountView.as_view(), name="account"),
    path("sign-in/", session.SignInView.as_view(), name="sign-in"),
    path("sign-out/", session.SignOutView.as_view(), name="sign-out"),
    path("switch-tenant/", session.switch_tenant, name="switch-tenant"),
    path("language/", session.set_language, name="set-language"),
]

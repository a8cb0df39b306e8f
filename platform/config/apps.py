"""Django's admin application with our site in place of its own. Named in INSTALLED_APPS."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class SupportAdminConfig(AdminConfig):
    """`django.contrib.admin`, whose default site is support staff's desk."""

    default_site = "config.admin_site.SupportSite"

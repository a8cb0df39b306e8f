"""The tenant's pages, under /console/."""

from __future__ import annotations

from django.urls import path

from tenants.pages import audit, keys, members, safety

app_name = "tenant"
urlpatterns = [
    path("safety/", safety.index, name="safety"),
    path("safety/try/", safety.try_text, name="safety-try"),
    path("audit/", audit.index, name="audit"),
    path("audit/verify/", audit.verify, name="audit-verify"),
    path("keys/", keys.index, name="keys"),
    path("keys/new/", keys.create, name="key-new"),
    path("keys/<str:key_id>/", keys.detail, name="key"),
    path("keys/<str:key_id>/rotate/", keys.rotate, name="key-rotate"),
    path("keys/<str:key_id>/revoke/", keys.revoke, name="key-revoke"),
    path("members/", members.index, name="members"),
    path("members/<str:member_id>/role/", members.change, name="member-role"),
    path("members/<str:member_id>/remove/", members.remove, name="member-remove"),
]

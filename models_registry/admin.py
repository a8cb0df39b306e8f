"""The registry on support staff's desk: to read; changes are made through REST and the console."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from core.staff import StaffAdmin
from models_registry.models import Alias, Deployment, MemberGrant, Model, ModelVersion, TenantGrant


@admin.register(Model)
class ModelAdmin(StaffAdmin):
    """Models of every owner."""

    list_display = ("shown_name", "title", "task", "visibility", "tenant", "made")
    list_select_related = ("tenant",)
    list_filter = ("task", "visibility")
    search_fields = ("name", "title", "=tenant__slug")
    search_help_text = _("Name, title, tenant or id (mdl_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "shown_name", "title", "description", "task", "licence", "tags"),
        *("visibility", "restrict_to_members", "made", "changed"),
    )

    @admin.display(description=_("name"), ordering="name")
    def shown_name(self, model: Model) -> str:
        """The name that means this model to everybody."""
        return model.qualified_name


@admin.register(ModelVersion)
class ModelVersionAdmin(StaffAdmin):
    """Versions, with what was verified of them."""

    list_display = ("model", "number", "label", "state", "source", "tenant", "made")
    list_select_related = ("model", "tenant")
    list_filter = ("state", "source")
    search_fields = ("model__name", "label", "=digest", "=tenant__slug")
    search_help_text = _("Model, label, digest, tenant or id (ver_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "model", "number", "label", "state", "source", "artifact_path", "digest"),
        *("architecture", "context_length", "parameters", "size_bytes", "manifest"),
        *("made", "changed"),
    )


@admin.register(Alias)
class AliasAdmin(StaffAdmin):
    """Public names and where they lead."""

    list_display = ("name", "version", "tenant", "changed")
    list_select_related = ("version__model", "tenant")
    search_fields = ("name", "=tenant__slug")
    search_help_text = _("Name, tenant or id (als_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "name", "version", "made", "changed")


@admin.register(Deployment)
class DeploymentAdmin(StaffAdmin):
    """Deployments as they are wished for. Credentials are not shown."""

    list_display = ("name", "version", "engine", "desired_replicas", "running", "pool", "tenant")
    list_select_related = ("version__model", "tenant")
    list_filter = ("engine", "running", "pool")
    search_fields = ("name", "version__model__name", "=tenant__slug")
    search_help_text = _("Name, model, tenant or id (dep_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "name", "version", "engine", "desired_replicas", "running", "pool"),
        *("engine_args", "remote_base_url", "remote_model", "made", "changed"),
    )


@admin.register(TenantGrant)
class TenantGrantAdmin(StaffAdmin):
    """Permissions that tenants were given on others' models."""

    list_display = ("content_object", "permission", "tenant", "owner", "made")
    list_select_related = ("content_object", "permission__content_type", "tenant", "owner")
    search_fields = ("content_object__name", "=tenant__slug", "=owner__slug")
    search_help_text = _("Model, tenant or id (tgr_…)")
    ordering = ("-id",)
    fields = ("shown_id", "content_object", "permission", "tenant", "owner", "made")


@admin.register(MemberGrant)
class MemberGrantAdmin(StaffAdmin):
    """Permissions that members were given on models."""

    list_display = ("content_object", "permission", "user", "tenant", "made")
    list_select_related = ("content_object", "permission__content_type", "user", "tenant")
    search_fields = ("content_object__name", "user__email", "=tenant__slug")
    search_help_text = _("Model, e-mail address, tenant or id (mgr_…)")
    ordering = ("-id",)
    fields = ("shown_id", "content_object", "permission", "user", "tenant", "made")

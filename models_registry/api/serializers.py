"""What the registry's objects look like outside, and what may be sent in."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.fields import PublicIdField, ReferenceField
from api.serializers import InputSerializer, OutputWithId
from core.ids import public_id
from core.scoping import current_scope
from models_registry import policies, selectors
from models_registry.models import Model, ModelVersion, Source, Task, VersionState, Visibility
from models_registry.models.catalogue import NAME_PATTERN
from tenants.models import Membership, Tenant
from tenants.selectors import membership_by_public_id

PERMISSION_CHOICES = [
    (policies.VIEW, _("View")),
    (policies.INVOKE, _("Invoke")),
    (policies.DEPLOY, _("Deploy")),
    (policies.MANAGE, _("Manage")),
]
PLATFORM = "platform"


def is_own(row: Any) -> bool:
    """True for a row that the asker's tenant owns; behind the platform door for every row."""
    scope = current_scope()
    return scope.platform or (scope.tenant_id is not None and row.tenant_id == scope.tenant_id)


def owner_of(row: Any) -> str:
    """`platform`, or the id of the owning tenant."""
    return public_id(Tenant.id_prefix, row.tenant_id) if row.tenant_id else PLATFORM


def permission_of(grant: Any) -> str:
    """Our name for what guardian calls `view_model`."""
    return str(grant.permission.codename).removesuffix("_model")


class Owned(OutputWithId):
    """An object of a tenant or of the platform."""

    owner = serializers.SerializerMethodField(help_text=_("`platform`, or the owning tenant's id."))
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def get_owner(self, row: Any) -> str:
        """Whose it is."""
        return owner_of(row)


class ModelOutput(Owned):
    """A model."""

    name = serializers.CharField()
    qualified_name = serializers.CharField(help_text=_("The name that means this model to everybody."))
    title = serializers.CharField()
    description = serializers.CharField()
    task = serializers.ChoiceField(Task.choices)
    licence = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    visibility = serializers.ChoiceField(Visibility.choices)
    restrict_to_members = serializers.BooleanField()


class ModelDetail(ModelOutput):
    """A model, and what the asker may do with it."""

    permissions = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(PERMISSION_CHOICES)))
    def get_permissions(self, model: Model) -> list[str]:
        """Of view, invoke, deploy, manage."""
        return sorted(selectors.permissions_on(model=model, actor=self.context["actor"]))


class Description(InputSerializer):
    """What people read about a model."""

    title = serializers.CharField(max_length=200, required=False, allow_blank=True)
    description = serializers.CharField(max_length=10_000, required=False, allow_blank=True)
    licence = serializers.CharField(max_length=100, required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(max_length=50), required=False, max_length=20)
    restrict_to_members = serializers.BooleanField(required=False)


class ChangeModel(Description):
    """Another description or another visibility."""

    visibility = serializers.ChoiceField(Visibility.choices, required=False)


class Weights(InputSerializer):
    """Where a version's weights are: a folder under a model root, or a source without files."""

    path = serializers.CharField(max_length=1_000, required=False)
    source = serializers.ChoiceField(Source.choices, required=False, default=Source.FOLDER)  # type: ignore[assignment]
    label = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")  # type: ignore[assignment]
    context_length = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1)


class RegisterModel(Weights, Description):
    """A new model with its first version."""

    name = serializers.RegexField(NAME_PATTERN.replace("$", r"\Z"), max_length=100)
    task = serializers.ChoiceField(Task.choices, required=False, default=Task.CHAT)
    visibility = serializers.ChoiceField(Visibility.choices, required=False, default=Visibility.PRIVATE)


class RegisterVersion(Weights):
    """A further version of a model."""

    model = ReferenceField(Model.id_prefix, find=selectors.model_by_public_id)


class VersionOutput(Owned):
    """A version. Folder and manifest are shown to those who own it."""

    model = PublicIdField(Model.id_prefix, source="model_id")
    model_name = serializers.CharField(source="model.qualified_name")
    number = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]
    state = serializers.ChoiceField(VersionState.choices)
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]
    digest = serializers.CharField()
    architecture = serializers.CharField()
    context_length = serializers.IntegerField(allow_null=True)
    parameters = serializers.IntegerField(allow_null=True)
    size_bytes = serializers.IntegerField(allow_null=True)
    artifact_path = serializers.SerializerMethodField(help_text=_("Shown to the platform's staff."))

    def get_artifact_path(self, version: ModelVersion) -> str:
        """SECURITY: a path on the platform's disks, which is not for tenants' eyes."""
        return version.artifact_path if current_scope().platform else ""


class VersionDetail(VersionOutput):
    """A version with its manifest."""

    manifest = serializers.SerializerMethodField()

    def get_manifest(self, version: ModelVersion) -> dict[str, Any]:
        """Files with sha256 and size."""
        return version.manifest if is_own(version) else {}


class SetState(InputSerializer):
    """The state to move to."""

    state = serializers.ChoiceField(VersionState.choices)
    reason = serializers.CharField(max_length=1_000, required=False, allow_blank=True, default="")


class AliasOutput(Owned):
    """A public name and the version that it leads to."""

    name = serializers.CharField()
    version = PublicIdField(ModelVersion.id_prefix, source="version_id")
    model_name = serializers.CharField(source="version.model.qualified_name")
    number = serializers.IntegerField(source="version.number")


class ChangeAlias(InputSerializer):
    """The version to lead to."""

    version = ReferenceField(ModelVersion.id_prefix, find=selectors.version_by_public_id)


class SetAlias(ChangeAlias):
    """A name and the version that it is to lead to."""

    name = serializers.CharField(max_length=150)


class GrantOutput(OutputWithId):
    """One permission on one model."""

    model = PublicIdField(Model.id_prefix, source="content_object_id")
    permission = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.ChoiceField(PERMISSION_CHOICES))
    def get_permission(self, grant: Any) -> str:
        """Of view, invoke, deploy, manage."""
        return permission_of(grant)


class TenantGrantOutput(GrantOutput):
    """One permission on one model, given to a tenant as a whole."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")


class MemberGrantOutput(GrantOutput):
    """One permission on one model, given to one member."""

    member = PublicIdField(Membership.id_prefix, source="membership_id")
    email = serializers.CharField(source="user.email")


class GiveToTenant(InputSerializer):
    """A permission for a tenant, named by its id."""

    model = ReferenceField(Model.id_prefix, find=selectors.model_by_public_id)
    tenant = ReferenceField(Tenant.id_prefix, find=selectors.grantee)
    permission = serializers.ChoiceField(PERMISSION_CHOICES)


class GiveToMember(InputSerializer):
    """A permission for a member of the active tenant."""

    model = ReferenceField(Model.id_prefix, find=selectors.model_by_public_id)
    member = ReferenceField(Membership.id_prefix, find=membership_by_public_id)
    permission = serializers.ChoiceField(PERMISSION_CHOICES)

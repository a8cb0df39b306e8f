"""What tenants, members, keys and audit events look like outside, and what may be sent in."""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.models import APIKey, KeyState, Scope
from access.services.keys import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from accounts.models import Language
from api.fields import ReferenceField
from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from core import clock
from core.ids import public_id
from tenants import selectors
from tenants.models import MAX_BAND, MAX_WEIGHT, Plan, Role, Tenant, TenantStatus
from tenants.services.plans import MAX_QUEUE_LIMIT


class TenantOutput(OutputWithId):
    """A tenant."""

    slug = serializers.CharField()
    name = serializers.CharField()
    status = serializers.ChoiceField(TenantStatus.choices)
    plan = serializers.SerializerMethodField(help_text=_("Its plan's id; none: the platform's defaults."))
    created_at = serializers.DateTimeField()

    def get_plan(self, tenant: Tenant) -> str | None:
        """The plan's public id."""
        return public_id(Plan.id_prefix, tenant.plan_id) if tenant.plan_id else None


class CreateTenant(InputSerializer):
    """A new tenant, with its first owner."""

    slug = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    owner_email = serializers.EmailField(
        required=False, help_text=_("The first owner; the account must exist.")
    )


class RenameTenant(InputSerializer):
    """Another name to read; the short name never changes."""

    name = serializers.CharField(max_length=100)


class SetPlan(InputSerializer):
    """Another plan for a tenant; null for the platform's defaults."""

    plan = ReferenceField("pln", find=selectors.plan_by_public_id, allow_null=True)
    reason = serializers.CharField(max_length=1000, help_text=_("Why; kept in the audit trail."))


class PlanOutput(OutputWithId):
    """A plan."""

    slug = serializers.CharField()
    name = serializers.CharField()
    weight = serializers.DecimalField(
        max_digits=8, decimal_places=3, help_text=_("Share of service against other tenants that wait.")
    )
    band = serializers.IntegerField(help_text=_("A lower band is served before a higher one."))
    queue_limit = serializers.IntegerField(
        allow_null=True, help_text=_("Requests that may wait per deployment; none: the platform's setting.")
    )
    allow_priority = serializers.BooleanField(
        help_text=_("Whether requests may order themselves inside the tenant.")
    )
    created_at = serializers.DateTimeField()


class ChangePlan(InputSerializer):
    """What a plan entitles to."""

    name = serializers.CharField(max_length=100, required=False)
    weight = serializers.DecimalField(
        max_digits=8, decimal_places=3, min_value=Decimal("0.001"), max_value=MAX_WEIGHT, required=False
    )
    band = serializers.IntegerField(min_value=0, max_value=MAX_BAND, required=False)
    queue_limit = serializers.IntegerField(
        min_value=0, max_value=MAX_QUEUE_LIMIT, allow_null=True, required=False
    )
    allow_priority = serializers.BooleanField(required=False)


class CreatePlan(ChangePlan):
    """A new plan."""

    slug = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)


class MemberOutput(OutputWithId):
    """A member."""

    user = serializers.CharField(source="user.public_id")
    email = serializers.CharField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.ChoiceField(Role.choices)
    created_at = serializers.DateTimeField()


class AddMember(InputSerializer):
    """A person to add; the account must exist."""

    email = serializers.EmailField()
    role = serializers.ChoiceField(Role.choices)


class ChangeMember(InputSerializer):
    """Another role."""

    role = serializers.ChoiceField(Role.choices)


class KeyOutput(OutputWithId):
    """An API key, without its secret."""

    name = serializers.CharField()
    prefix = serializers.CharField(help_text=_("The first letters of the secret, to tell keys apart."))
    state = serializers.SerializerMethodField()
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    allowed_models = serializers.ListField(child=serializers.CharField())
    allowed_networks = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    rotated_to = serializers.SerializerMethodField()
    created_by = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.ChoiceField(KeyState.choices))
    def get_state(self, key: APIKey) -> str:
        """How it stands now."""
        return key.state(clock.now()).value

    def get_rotated_to(self, key: APIKey) -> str | None:
        """The key that takes its place."""
        return public_id(APIKey.id_prefix, key.rotated_to_id) if key.rotated_to_id else None

    def get_created_by(self, key: APIKey) -> str | None:
        """The person who made it."""
        return key.created_by.email if key.created_by else None


class KeyWithSecret(KeyOutput):
    """A key just made. The secret is shown this once and is stored nowhere."""

    secret = serializers.SerializerMethodField(help_text=_("Shown this once."))

    def get_secret(self, key: APIKey) -> str:
        """The secret, handed over by the view."""
        secret: str = self.context["secret"]
        return secret


class CreateKey(InputSerializer):
    """A new key."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices), allow_empty=False, max_length=len(Scope.choices)
    )
    allowed_models = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        default=list,
        max_length=100,
        help_text=_("Public names; empty: all that the tenant may use."),
    )
    allowed_networks = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        default=list,
        max_length=100,
        help_text=_("Networks in CIDR notation; empty: from anywhere."),
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class RotateKey(InputSerializer):
    """How long the old secret goes on working beside the new one."""

    overlap_s = serializers.IntegerField(
        required=False, default=DEFAULT_OVERLAP_S, min_value=0, max_value=MAX_OVERLAP_S
    )


class RevokeKey(InputSerializer):
    """Why; optional."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)


class MembershipOutput(OutputSerializer):
    """One of one's own memberships."""

    tenant = TenantOutput()
    role = serializers.ChoiceField(Role.choices)


class PersonOutput(OutputWithId):
    """The signed-in person."""

    email = serializers.CharField()
    name = serializers.CharField()
    language = serializers.ChoiceField(Language.choices)
    platform_role = serializers.CharField()


class MeOutput(OutputSerializer):
    """Who asks, for which tenant, and what they may do there."""

    kind = serializers.ChoiceField([("person", _("Person")), ("key", _("API key"))])
    person = PersonOutput(allow_null=True)
    key = KeyOutput(allow_null=True)
    tenant = TenantOutput(allow_null=True)
    role = serializers.CharField()
    memberships = MembershipOutput(many=True)
    permissions = serializers.ListField(child=serializers.CharField())


class EraseTenant(InputSerializer):
    """The tenant's short name, typed, and why."""

    confirm = serializers.CharField(max_length=40)
    reason = serializers.CharField(max_length=1000, help_text=_("Why; kept in the audit trail."))

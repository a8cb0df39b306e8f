"""Models, versions, aliases, deployments and grants."""

from __future__ import annotations

from typing import Any

import factory
from django.contrib.auth.models import Permission

from models_registry.models import (
    Alias,
    Deployment,
    EngineKind,
    MemberGrant,
    Model,
    ModelVersion,
    Source,
    TenantGrant,
    VersionState,
)
from tests.factories.accounts import UserFactory
from tests.factories.base import WalledFactory
from tests.factories.tenants import MembershipFactory, TenantFactory


def permission(name: str) -> Permission:
    """guardian's permission for `name`: view, invoke, deploy or manage."""
    return Permission.objects.get(content_type__app_label="models_registry", codename=f"{name}_model")


class _OwnedFactory(WalledFactory):
    """Takes the owner from the row named by `parent`, where one is given and no tenant is."""

    class Meta:
        abstract = True

    parent = ""

    @classmethod
    def _generate(cls, strategy: Any, params: dict[str, Any]) -> Any:
        if cls.parent in params and "tenant" not in params:
            params["tenant"] = params[cls.parent].tenant
        return super()._generate(strategy, params)


class ModelFactory(WalledFactory):
    """A private model of a tenant; `tenant=None` makes it the platform's."""

    class Meta:
        model = Model

    tenant = factory.SubFactory(TenantFactory)
    namespace = factory.LazyAttribute(lambda row: row.tenant.slug if row.tenant else "")
    name = factory.Sequence(lambda n: f"model-{n}")


class ModelVersionFactory(_OwnedFactory):
    """A version that is online and needs no files."""

    class Meta:
        model = ModelVersion
        exclude = ("parent",)

    parent = "model"
    tenant = factory.SubFactory(TenantFactory)
    model = factory.SubFactory(ModelFactory, tenant=factory.SelfAttribute("..tenant"))
    number = factory.Sequence(lambda n: n + 1)
    source = Source.SIMULATED
    state = VersionState.ONLINE


class AliasFactory(_OwnedFactory):
    """A name of a tenant's own for a version of its own."""

    class Meta:
        model = Alias
        exclude = ("parent",)

    parent = "version"
    tenant = factory.SubFactory(TenantFactory)
    version = factory.SubFactory(ModelVersionFactory, tenant=factory.SelfAttribute("..tenant"))
    name = factory.Sequence(lambda n: f"alias-{n}")


class DeploymentFactory(_OwnedFactory):
    """A running deployment on the simulated engine, dedicated to the owner; shared when that is the platform."""

    class Meta:
        model = Deployment
        exclude = ("parent",)

    parent = "version"
    tenant = factory.SubFactory(TenantFactory)
    version = factory.SubFactory(ModelVersionFactory, tenant=factory.SelfAttribute("..tenant"))
    name = factory.Sequence(lambda n: f"deployment-{n}")
    engine = EngineKind.SIMULATED


class TenantGrantFactory(WalledFactory):
    """Leave for a tenant to invoke a model of the platform. `given="view"` for another permission."""

    class Meta:
        model = TenantGrant

    class Params:
        given = "invoke"

    tenant = factory.SubFactory(TenantFactory)
    group = factory.LazyAttribute(lambda row: row.tenant.group)
    permission = factory.LazyAttribute(lambda row: permission(row.given))
    content_object = factory.SubFactory(ModelFactory, tenant=None, visibility="granted")


class MemberGrantFactory(WalledFactory):
    """Leave for a member to invoke a model of their tenant. `given="view"` for another permission."""

    class Meta:
        model = MemberGrant

    class Params:
        given = "invoke"

    tenant = factory.SubFactory(TenantFactory)
    user = factory.SubFactory(UserFactory)
    membership = factory.SubFactory(
        MembershipFactory, tenant=factory.SelfAttribute("..tenant"), user=factory.SelfAttribute("..user")
    )
    permission = factory.LazyAttribute(lambda row: permission(row.given))
    content_object = factory.SubFactory(ModelFactory, tenant=factory.SelfAttribute("..tenant"))

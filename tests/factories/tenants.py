"""Tenants and members."""

from __future__ import annotations

import factory
from django.contrib.auth.models import Group

from tenants.models import Limit, LimitKind, LimitOwner, Membership, Plan, Role, Tenant
from tests.factories.accounts import UserFactory
from tests.factories.base import WalledFactory


class GroupFactory(factory.django.DjangoModelFactory):
    """The group on which a tenant's object permissions hang."""

    class Meta:
        model = Group

    name = factory.Sequence(lambda n: f"tenant:{n}")


class TenantFactory(WalledFactory):
    """An active tenant without members."""

    class Meta:
        model = Tenant

    slug = factory.Sequence(lambda n: f"tenant-{n}")
    name = factory.Sequence(lambda n: f"Tenant {n}")
    group = factory.SubFactory(GroupFactory)


class MembershipFactory(WalledFactory):
    """Somebody's place in a tenant."""

    class Meta:
        model = Membership

    tenant = factory.SubFactory(TenantFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.DEVELOPER


class PlanFactory(factory.django.DjangoModelFactory):
    """A plan as good as none. No tenant's: one that is given is not looked at."""

    class Meta:
        model = Plan

    class Params:
        tenant = None

    slug = factory.Sequence(lambda n: f"plan-{n}")
    name = factory.Sequence(lambda n: f"Plan {n}")


class LimitFactory(WalledFactory):
    """A limit that a tenant set itself."""

    class Meta:
        model = Limit

    tenant = factory.SubFactory(TenantFactory)
    owner = LimitOwner.TENANT
    kind = LimitKind.REQUESTS_PER_MINUTE
    value = 1_000_000

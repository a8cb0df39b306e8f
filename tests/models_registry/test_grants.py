"""Object permissions: stored by guardian, counted inside one tenant, and never more than a tenant itself has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from guardian.shortcuts import (
    assign_perm,
    get_groups_with_perms,
    get_objects_for_group,
    get_objects_for_user,
    get_perms,
    get_users_with_perms,
    remove_perm,
)

from accounts.models import User
from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import InvalidInput, NotAllowed, NotFound
from core.scoping import ScopeError, platform_scope, tenant_scope
from models_registry import policies, selectors
from models_registry.models import MemberGrant, Model, TenantGrant
from models_registry.services import grants
from models_registry.services import models as model_services
from tenants.models import Membership, Tenant
from tenants.services import members
from tests.factories.access import APIKeyFactory
from tests.factories.models_registry import MemberGrantFactory, ModelFactory, TenantGrantFactory
from tests.factories.tenants import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db

ActorOf = Callable[..., Actor]
INVOKE = "models_registry.invoke_model"


# --- guardian is the store ----------------------------------------------------------------------------------------


def test_guardians_own_functions_work_for_members(acme: Tenant, bob: User) -> None:
    model, other = ModelFactory(tenant=acme), ModelFactory(tenant=acme)
    with tenant_scope(acme.pk):
        grant = assign_perm(INVOKE, bob, model)
        assert isinstance(grant, MemberGrant)
        assert assign_perm(INVOKE, bob, model) == grant
        assert User.objects.get(pk=bob.pk).has_perm(INVOKE, model)
        assert not User.objects.get(pk=bob.pk).has_perm(INVOKE, other)
        assert not User.objects.get(pk=bob.pk).has_perm("models_registry.manage_model", model)
        assert list(get_objects_for_user(bob, INVOKE, klass=Model.objects.all())) == [model]
        assert get_perms(bob, model) == ["invoke_model"]
        assert list(get_users_with_perms(model, with_group_users=False)) == [bob]
        remove_perm(INVOKE, bob, model)
        assert not User.objects.get(pk=bob.pk).has_perm(INVOKE, model)


def test_guardians_own_functions_work_for_tenants(acme: Tenant) -> None:
    model = ModelFactory(tenant=None, visibility="granted")
    with platform_scope(reason="tests"):
        grant = assign_perm(INVOKE, acme.group, model)
        assert isinstance(grant, TenantGrant)
        assert (grant.tenant_id, grant.owner_id) == (acme.pk, None)
        assert list(get_groups_with_perms(model)) == [acme.group]
    with tenant_scope(acme.pk):
        assert list(get_objects_for_group(acme.group, INVOKE, klass=Model.objects.all())) == [model]
    with platform_scope(reason="tests"):
        remove_perm(INVOKE, acme.group, model)
    with tenant_scope(acme.pk):
        assert not Model.objects.exists()


def test_guardians_bulk_writers_keep_the_walls(acme: Tenant, globex: Tenant, alice: User, bob: User) -> None:
    models = [ModelFactory(tenant=acme), ModelFactory(tenant=acme)]
    with tenant_scope(acme.pk):
        assign_perm(INVOKE, [alice, bob], models[0])
        assign_perm(INVOKE, bob, models)
        assert MemberGrant.objects.count() == 3
        assert set(MemberGrant.objects.values_list("tenant_id", flat=True)) == {acme.pk}
    with platform_scope(reason="tests"):
        assign_perm(INVOKE, [acme.group, globex.group], ModelFactory(tenant=None))
        assert set(TenantGrant.objects.values_list("tenant_id", flat=True)) == {acme.pk, globex.pk}


def test_a_member_is_granted_something_inside_one_tenant_only(acme: Tenant, bob: User, charlie: User) -> None:
    model = ModelFactory(tenant=acme)
    with pytest.raises(ScopeError):
        assign_perm(INVOKE, bob, model)
    with platform_scope(reason="tests"), pytest.raises(ScopeError):
        assign_perm(INVOKE, bob, model)
    with tenant_scope(acme.pk), pytest.raises(InvalidInput):
        assign_perm(INVOKE, charlie, model)
    with tenant_scope(acme.pk):
        assign_perm(INVOKE, bob, model)
    with platform_scope(reason="tests"), pytest.raises(ScopeError):
        assign_perm(INVOKE, bob, model)  # nor is one tenant's grant found from outside


def test_a_model_is_granted_by_its_owner_only(acme: Tenant, globex: Tenant) -> None:
    for model in (
        ModelFactory(tenant=globex, visibility="public"),
        ModelFactory(tenant=None, visibility="public"),
    ):
        with tenant_scope(acme.pk), pytest.raises(ScopeError):
            assign_perm(INVOKE, acme.group, model)
    with platform_scope(reason="tests"), pytest.raises(ScopeError):
        assign_perm(INVOKE, Group.objects.create(name="no tenant's"), ModelFactory(tenant=None))


def test_a_grant_ends_with_the_membership(acme: Tenant, bob: User) -> None:
    model = ModelFactory(tenant=acme)
    with tenant_scope(acme.pk):
        assign_perm(INVOKE, bob, model)
        membership = Membership.objects.get(user=bob)
        members.remove(membership=membership, actor=system("tests"))
        assert not MemberGrant.objects.exists()
        members.add(tenant=acme, user=bob, role="viewer", actor=system("tests"))
        assert not User.objects.get(pk=bob.pk).has_perm(INVOKE, model)


# --- What somebody may do -----------------------------------------------------------------------------------------

ALL = {"view", "invoke", "deploy", "manage"}
# (role, what they may do with their tenant's own model, … with a public one, … with one granted to view and deploy)
ROLES: list[tuple[str, set[str], set[str], set[str]]] = [
    ("owner", ALL, {"view", "invoke"}, {"view", "deploy"}),
    ("admin", ALL, {"view", "invoke"}, {"view", "deploy"}),
    ("developer", {"view", "invoke", "deploy"}, {"view", "invoke"}, {"view", "deploy"}),
    ("viewer", {"view"}, {"view", "invoke"}, {"view"}),
    ("billing", {"view"}, {"view", "invoke"}, {"view"}),
]


@pytest.mark.parametrize(("role", "own", "public", "granted"), ROLES)
def test_what_a_role_may_do(
    acme: Tenant, bob: User, actor_of: ActorOf, role: str, own: set[str], public: set[str], granted: set[str]
) -> None:
    models = [
        ModelFactory(tenant=acme),
        ModelFactory(tenant=None, visibility="public"),
        TenantGrantFactory(tenant=acme, given="deploy").content_object,
    ]
    with tenant_scope(acme.pk):
        found = [selectors.permissions_on(model=model, actor=actor_of(bob, role)) for model in models]
    assert found == [own, public, granted]


@pytest.mark.parametrize(
    ("scopes", "own", "public"),
    [
        ({"invoke"}, {"view", "invoke"}, {"view", "invoke"}),
        ({"read"}, {"view"}, {"view"}),
        ({"manage"}, {"view", "deploy", "manage"}, {"view"}),
        ({"invoke", "manage"}, ALL, {"view", "invoke"}),
        (set(), set(), set()),
    ],
)
def test_what_a_key_may_do(
    acme: Tenant, bob: User, scopes: set[str], own: set[str], public: set[str]
) -> None:
    key = APIKeyFactory(tenant=acme, scopes=sorted(scopes), created_by=bob)
    actor = Actor(kind="key", label=key.name, id=key.pk, scopes=frozenset(scopes))
    models = [ModelFactory(tenant=acme), ModelFactory(tenant=None, visibility="public")]
    MemberGrantFactory(tenant=acme, user=bob, membership=_membership(acme, bob), content_object=models[0])
    with tenant_scope(acme.pk):
        assert [selectors.permissions_on(model=model, actor=actor) for model in models] == [own, public]


def test_somebody_without_a_role_may_do_nothing(acme: Tenant, charlie: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=None, visibility="public")
    with tenant_scope(acme.pk):
        assert selectors.permissions_on(model=model, actor=actor_of(charlie)) == set()


def test_a_grant_by_name_adds_to_the_role(acme: Tenant, dana: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=acme)
    MemberGrantFactory(
        tenant=acme, user=dana, membership=_membership(acme, dana), content_object=model, given="manage"
    )
    with tenant_scope(acme.pk):
        assert selectors.permissions_on(model=model, actor=actor_of(dana, "viewer")) == {"view", "manage"}


def test_nothing_is_carried_over_from_another_tenant_of_the_same_person(
    acme: Tenant, globex: Tenant, bob: User, actor_of: ActorOf
) -> None:
    """Bob owns Globex too, where he has every permission on this model by name. In Acme he is a viewer."""
    MembershipFactory(tenant=globex, user=bob, role="owner")
    bob.groups.add(globex.group, acme.group)  # and somebody has put him into the tenants' groups by hand
    for model in (
        ModelFactory(tenant=acme, visibility="public"),
        ModelFactory(tenant=None, visibility="public"),
    ):
        if model.tenant_id:
            TenantGrantFactory(tenant=globex, content_object=model, given="deploy")
        for given in ("invoke", "deploy", "manage"):
            MemberGrantFactory(
                tenant=globex,
                user=bob,
                membership=_membership(globex, bob),
                content_object=model,
                given=given,
            )
        with tenant_scope(acme.pk):
            found = selectors.permissions_on(model=model, actor=actor_of(bob, "viewer"))
            assert found == ({"view"} if model.tenant_id else {"view", "invoke"})
            names = [
                selectors.models_for(actor=actor_of(bob, "viewer"), permission=name)
                for name in ("deploy", "manage")
            ]
            assert [list(rows) for rows in names] == [[], []]


def test_by_name_nobody_gets_more_of_anothers_model_than_the_tenant_has(
    acme: Tenant, bob: User, actor_of: ActorOf
) -> None:
    tenant_grant = TenantGrantFactory(tenant=acme)
    model = tenant_grant.content_object
    for given in ("invoke", "deploy", "manage"):
        MemberGrantFactory(
            tenant=acme, user=bob, membership=_membership(acme, bob), content_object=model, given=given
        )
    with tenant_scope(acme.pk):
        assert selectors.permissions_on(model=model, actor=actor_of(bob, "developer")) == {"view", "invoke"}
    TenantGrantFactory(tenant=acme, content_object=model, given="view")
    with platform_scope(reason="tests"):
        tenant_grant.delete()
    with tenant_scope(acme.pk):
        assert selectors.permissions_on(model=model, actor=actor_of(bob, "developer")) == {"view"}


@pytest.mark.parametrize("owned", [True, False], ids=["own", "public"])
def test_a_restricted_model_is_invoked_by_named_members_and_their_keys_alone(
    acme: Tenant, alice: User, bob: User, actor_of: ActorOf, owned: bool
) -> None:
    model = ModelFactory(tenant=acme if owned else None, visibility="public", restrict_to_members=True)
    MemberGrantFactory(tenant=acme, user=bob, membership=_membership(acme, bob), content_object=model)
    keys = [APIKeyFactory(tenant=acme, created_by=user) for user in (alice, bob, None)]
    actors = [
        actor_of(alice, "owner"),
        actor_of(bob, "developer"),
        *(Actor(kind="key", label="k", id=key.pk, scopes=frozenset({"invoke"})) for key in keys),
    ]
    with tenant_scope(acme.pk):
        found = ["invoke" in selectors.permissions_on(model=model, actor=actor) for actor in actors]
        listed = [selectors.models_for(actor=actor, permission="invoke").exists() for actor in actors]
    assert found == listed == [False, True, False, True, False]


@pytest.mark.slow
def test_lists_and_single_answers_agree(acme: Tenant, globex: Tenant, bob: User, actor_of: ActorOf) -> None:
    """Every owner × visibility × grant × restriction, for every role and kind of key."""
    membership = _membership(acme, bob)
    for owner in (acme, globex, None):
        for visibility in ("private", "granted", "public"):
            for to_tenant in (None, "view", "invoke", "deploy"):
                for restricted in (False, True):
                    model = ModelFactory(tenant=owner, visibility=visibility, restrict_to_members=restricted)
                    if to_tenant and owner != acme:
                        TenantGrantFactory(tenant=acme, content_object=model, given=to_tenant)
                    if to_tenant:
                        MemberGrantFactory(
                            tenant=acme,
                            user=bob,
                            membership=membership,
                            content_object=model,
                            given=to_tenant,
                        )
    key = APIKeyFactory(tenant=acme, created_by=bob)
    scopes: list[set[str]] = [{"invoke"}, {"read"}, {"manage"}]
    actors = [actor_of(bob, role) for role, *_ in ROLES] + [
        Actor(kind="key", label="k", id=key.pk, scopes=frozenset(opened)) for opened in scopes
    ]
    with tenant_scope(acme.pk):
        for actor in actors:
            single = {
                model.pk: selectors.permissions_on(model=model, actor=actor) for model in selectors.models()
            }
            for permission in policies.PERMISSIONS:
                listed = set(
                    selectors.models_for(actor=actor, permission=permission).values_list("pk", flat=True)
                )
                assert listed == {pk for pk, found in single.items() if permission in found}, (
                    actor,
                    permission,
                )


def test_staff_behind_the_platform_door(acme: Tenant, olive: User, sam: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=acme)
    with platform_scope(reason="tests"):
        assert selectors.permissions_on(model=model, actor=actor_of(olive)) == ALL
        assert selectors.permissions_on(model=model, actor=actor_of(sam)) == {"view"}
        assert list(selectors.models_for(actor=actor_of(olive), permission="manage")) == [model]
        assert not selectors.models_for(actor=actor_of(sam), permission="manage").exists()


# --- Granting and revoking ----------------------------------------------------------------------------------------


def test_an_owner_shares_a_model_with_a_tenant_that_it_cannot_see(
    acme: Tenant, globex: Tenant, alice: User, actor_of: ActorOf
) -> None:
    model = ModelFactory(tenant=acme)
    actor = actor_of(alice, "owner")
    with tenant_scope(acme.pk):
        to = selectors.grantee(public_id=globex.public_id)
        grants.grant(model=model, to=to, actor=actor)
        grants.grant(model=model, to=to, actor=actor)
        model.refresh_from_db()
        assert model.visibility == "granted"
        assert selectors.tenant_grants_of(model=model).count() == 2
        event = AuditEvent.objects.filter(action="models_registry.grant.granted").first()
        assert event
        assert event.after == {"to": globex.public_id, "permissions": ["invoke", "view"]}
    with tenant_scope(globex.pk):
        assert selectors.model_by_name(name="acme/" + model.name) == model
        assert selectors.permissions_of_tenant(model=model) == {"view", "invoke"}
    with tenant_scope(acme.pk):
        grants.revoke(model=model, to=to, actor=actor)
        assert not selectors.tenant_grants_of(model=model).exists()
    with tenant_scope(globex.pk), pytest.raises(NotFound):
        selectors.model_by_name(name="acme/" + model.name)


def test_who_is_a_customer_cannot_be_found_out_by_sharing(acme: Tenant, globex: Tenant) -> None:
    with tenant_scope(acme.pk):
        for guess in ("globex", "ten_nonsense", Tenant().public_id):
            with pytest.raises(NotFound):
                selectors.grantee(public_id=guess)


def test_a_model_made_private_is_shared_with_nobody(acme: Tenant, alice: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=acme, visibility="granted")
    grant = TenantGrantFactory(content_object=model)
    with tenant_scope(acme.pk):
        model_services.set_visibility(model=model, visibility="private", actor=actor_of(alice, "owner"))
        assert not selectors.tenant_grants_of(model=model).exists()
    with tenant_scope(grant.tenant_id):
        assert not selectors.models().exists()


def test_who_may_not_manage_a_model_may_not_share_it(
    acme: Tenant, globex: Tenant, bob: User, alice: User, actor_of: ActorOf
) -> None:
    own, public = ModelFactory(tenant=acme), ModelFactory(tenant=None, visibility="public")
    with tenant_scope(acme.pk):
        for model, actor in ((own, actor_of(bob, "developer")), (public, actor_of(alice, "owner"))):
            for change in (grants.grant, grants.revoke):
                with pytest.raises(NotAllowed):
                    change(model=model, to=globex, actor=actor, permissions=["view"])


def test_managing_is_not_given_away_and_nothing_unknown_is_granted(
    acme: Tenant, globex: Tenant, alice: User, actor_of: ActorOf
) -> None:
    model, actor = ModelFactory(tenant=acme), actor_of(alice, "owner")
    with tenant_scope(acme.pk):
        for to, names in (
            (globex, ["manage"]),
            (globex, ["fly"]),
            (globex, []),
            (acme, ["view"]),
            (alice, ["fly"]),
        ):
            with pytest.raises(InvalidInput):
                grants.grant(model=model, to=to, actor=actor, permissions=names)
        assert not TenantGrant.objects.exists()
        assert not MemberGrant.objects.exists()


def test_an_administrator_names_members_for_the_tenants_own_and_for_shared_models(
    acme: Tenant, alice: User, bob: User, dana: User, charlie: User, actor_of: ActorOf
) -> None:
    own, public = ModelFactory(tenant=acme), ModelFactory(tenant=None, visibility="public")
    actor = actor_of(alice, "owner")
    with tenant_scope(acme.pk):
        grants.grant(model=own, to=dana, actor=actor, permissions=["invoke", "manage"])
        grants.grant(model=public, to=dana, actor=actor, permissions=["invoke"])
        assert selectors.permissions_on(model=own, actor=actor_of(dana, "viewer")) == {
            "view",
            "invoke",
            "manage",
        }
        with pytest.raises(NotAllowed):
            grants.grant(model=public, to=dana, actor=actor, permissions=["deploy"])
        with pytest.raises(NotAllowed):
            grants.grant(model=own, to=dana, actor=actor_of(bob, "developer"))
        with pytest.raises(NotAllowed):
            grants.grant(model=public, to=dana, actor=actor_of(bob, "developer"))
        with pytest.raises(NotFound):
            grants.grant(model=own, to=charlie, actor=actor)
        grants.revoke(model=own, to=dana, actor=actor, permissions=["manage"])
        assert selectors.permissions_on(model=own, actor=actor_of(dana, "viewer")) == {"view", "invoke"}
        assert selectors.member_grants_of(model=own).count() == 1
    with platform_scope(reason="tests"), pytest.raises(InvalidInput):
        grants.grant(model=own, to=dana, actor=system("tests"))


def test_an_operator_grants_the_platforms_models(acme: Tenant, olive: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=None)
    with platform_scope(reason="tests"):
        grants.grant(model=model, to=acme, actor=actor_of(olive), permissions=["view", "deploy"])
    with tenant_scope(acme.pk):
        assert selectors.permissions_of_tenant(model=model) == {"view", "deploy"}


def _membership(tenant: Tenant, user: User) -> Any:
    with platform_scope(reason="tests"):
        return Membership.objects.get(tenant=tenant, user=user)


def test_being_put_into_a_tenants_group_by_hand_gives_nothing(acme: Tenant) -> None:
    """Grants to a tenant hang on the tenant, whoever is put into its group."""
    grant = TenantGrantFactory(tenant=acme)
    stranger = MembershipFactory(tenant=TenantFactory()).user
    stranger.groups.add(acme.group)
    with tenant_scope(acme.pk):
        actor = Actor(kind="person", label=stranger.email, id=stranger.pk)
        assert selectors.permissions_on(model=grant.content_object, actor=actor) == set()

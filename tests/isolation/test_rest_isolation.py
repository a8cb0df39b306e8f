"""Another tenant's object is 404 through every REST route (L17), generated from the router.

Acme's people ask for what is Globex's. Each refusal has its positive control (Globex's owner gets an
answer), and the checks themselves have theirs: a viewset that leaks on purpose must fail every one of them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import include, path

from access.models import APIKey
from api.routers import Router
from config.api import router
from core.scoping import platform_scope
from models_registry.models import Model, ModelVersion
from safety.models import WordList
from tenants.api.filters import KeyFilter
from tenants.api.serializers import CreateKey
from tenants.api.views import KeyViewSet
from tenants.models import Membership, Tenant
from tests import database
from tests.api.client import REST, with_key
from tests.factories.access import APIKeyFactory
from tests.factories.accounts import UserFactory
from tests.factories.models_registry import ModelFactory, ModelVersionFactory
from tests.factories.safety import PlatformRuleSetVersionFactory, WordListFactory
from tests.factories.tenants import MembershipFactory, TenantFactory
from tests.isolation import rest as checks
from tests.isolation.rest import Entry

# What has no tenant, such as a plan, is everybody's to see.
ENTRIES = [
    Entry(prefix, viewset, router)
    for prefix, viewset, _name in router.registry
    if getattr(viewset.model, "tenant_scope", "global") != "global"
]
each = pytest.mark.parametrize("entry", ENTRIES, ids=str)
each_with_details = pytest.mark.parametrize("entry", [e for e in ENTRIES if e.has_details], ids=str)
each_list = pytest.mark.parametrize("entry", [e for e in ENTRIES if e.has_list], ids=str)
each_creating = pytest.mark.parametrize("entry", [e for e in ENTRIES if e.creates], ids=str)

# A body that is accepted, out of one's own objects. A viewset that creates must have its line here.
BODIES: dict[str, Any] = {
    "tenants": lambda own: {"slug": "another", "name": "Another"},
    "members": lambda own: {"email": own["usr"].email, "role": "viewer"},
    "keys": lambda own: {"name": "x", "scopes": ["invoke"]},
    "models": lambda own: {"name": "fresh", "source": "simulated"},
    "versions": lambda own: {"model": own["mdl"].public_id, "source": "simulated"},
    "aliases": lambda own: {"name": "fresh", "version": own["ver"].public_id},
    "grants/tenants": lambda own: {
        "model": own["mdl"].public_id,
        "tenant": own["neighbour"].public_id,
        "permission": "invoke",
    },
    "grants/members": lambda own: {
        "model": own["mdl"].public_id,
        "member": own["mem"].public_id,
        "permission": "invoke",
    },
    "budgets": lambda own: {"name": "month", "scope": "tenant", "tokens": 1000},
    "reconciliations": lambda own: {},
    "safety/rules": lambda own: {
        "name": "fresh",
        "kind": "terms",
        "action_in": "block",
        "word_list": own["wdl"].public_id,
    },
    "safety/word-lists": lambda own: {"name": "fresh", "category": "weather", "terms": ["thunder"]},
    "safety/versions": lambda own: {"note": "first"},
    "safety/overrides": lambda own: {
        "rule": PlatformRuleSetVersionFactory() and "test.thunder",
        "action_in": "block",
    },
    "safety/disclaimers": lambda own: {"model": "m", "prefix": "Written by a machine. "},
    "exports": lambda own: {},
    "erasures": lambda own: {"end_user": "somebody", "reason": "asked"},
    "limits": lambda own: {"kind": "requests_per_minute", "value": 5, "key": own["key"].public_id},
    "deployments": lambda own: {"version": own["ver"].public_id, "engine": "simulated"},
    "price-plans": lambda own: {"slug": "another", "name": "Another", "currency": "CNY"},
    "price-subscriptions": lambda own: {"tenant": own["neighbour"].public_id, "plan": None},
    "top-ups": lambda own: {
        "tenant": own["neighbour"].public_id,
        "amount": "1",
        "currency": "CNY",
        "reference": "x",
    },
    "corrections": lambda own: {
        "tenant": own["neighbour"].public_id,
        "amount": "1",
        "currency": "CNY",
        "reason": "x",
    },
}
# Made by operators only.
NOT_FOR_TENANTS = {
    "tenants",
    "price-plans",
    "price-subscriptions",
    "top-ups",
    "corrections",
    "reconciliations",
}
# A model is shared with another tenant: naming one is the point. And what operators do, they do to any tenant.
MEANT_TO_BE_FOREIGN = frozenset(
    {
        ("grants/tenants", "tenant"),
        ("price-subscriptions", "tenant"),
        ("price-subscriptions", "plan"),
        ("top-ups", "tenant"),
        ("corrections", "tenant"),
        ("corrections", "corrects"),
    }
)


@pytest.fixture(scope="module")
def cast(django_db_setup: None, django_db_blocker: Any) -> Any:
    """Both sides' clients, made once: Acme asks, Globex owns. What a test changes is rolled back with it."""
    with django_db_blocker.unblock():
        acme, globex = TenantFactory(slug="acme"), TenantFactory(slug="globex")
        yield SimpleNamespace(
            acme=acme,
            globex=globex,
            stranger=signed_in(MembershipFactory(tenant=acme, role="owner").user),
            owner=signed_in(MembershipFactory(tenant=globex, role="owner").user),
            program=with_key(acme, "invoke", "read", "manage"),
        )
        database.empty_tables()


@pytest.fixture
def side(cast: Any, db: None) -> Any:
    """The cast, inside a transaction of the test's own."""
    return SimpleNamespace(**vars(cast))


def signed_in(user: Any) -> REST:
    """A person's client."""
    client = Client()
    client.force_login(user, backend="accounts.backends.ThrottledModelBackend")
    return REST(client)


def objects_of(tenant: Tenant, neighbour: Tenant) -> dict[str, Any]:
    """One object of each kind that a body may name, by the prefix of its id."""
    user = UserFactory()
    return {
        Model.id_prefix: ModelFactory(tenant=tenant),
        ModelVersion.id_prefix: ModelVersionFactory(model=ModelFactory(tenant=tenant)),
        Membership.id_prefix: MembershipFactory(tenant=tenant),
        APIKey.id_prefix: APIKeyFactory(tenant=tenant),
        Tenant.id_prefix: tenant,
        WordList.id_prefix: WordListFactory(tenant=tenant),
        "usr": user,
        "neighbour": neighbour,
    }


@pytest.mark.matrix
@each
def test_every_viewset_can_be_put_to_the_test(entry: Entry, side: Any) -> None:
    if entry.has_details:
        assert checks.row_of(entry, side.acme) is not None
    if entry.creates:
        assert entry.prefix in BODIES, f"write a body for POST /api/v1/{entry.prefix}/ into BODIES"


@pytest.mark.slow
@pytest.mark.matrix
@each_with_details
@pytest.mark.parametrize("by", ["stranger", "program"])
def test_a_foreign_object_is_absent_by_every_method(entry: Entry, side: Any, by: str) -> None:
    foreign = checks.row_of(entry, side.globex)
    assert checks.assert_details_are_walled(entry, foreign, getattr(side, by), side.owner) >= len(
        checks.METHODS
    )


@pytest.mark.matrix
@each_list
@pytest.mark.parametrize("by", ["stranger", "program"])
def test_a_list_shows_no_foreign_rows(entry: Entry, side: Any, by: str) -> None:
    own, foreign = checks.row_of(entry, side.acme), checks.row_of(entry, side.globex)
    checks.assert_list_is_walled(entry, own, foreign, getattr(side, by), side.owner)


@pytest.mark.slow
@pytest.mark.matrix
@each_list
def test_no_filter_brings_a_foreign_row_to_light(entry: Entry, side: Any) -> None:
    foreign = checks.row_of(entry, side.globex)
    found = checks.assert_filters_are_walled(entry, foreign, side.stranger, side.owner)
    assert found, f"no filter of /{entry.prefix}/ finds the row even for its owner: the check proves nothing"


@pytest.mark.matrix
@each_creating
def test_a_body_cannot_name_a_foreign_object(entry: Entry, side: Any) -> None:
    own, foreign = objects_of(side.acme, side.globex), objects_of(side.globex, side.acme)
    body = BODIES[entry.prefix](own)
    tried = checks.assert_references_are_walled(
        entry, body, foreign, side.stranger, meant_to_be_foreign=MEANT_TO_BE_FOREIGN
    )
    assert tried == len(
        [
            name
            for name in checks.references(entry, "create")
            if (entry.prefix, name) not in MEANT_TO_BE_FOREIGN
        ]
    )
    made = side.stranger.post(f"/{entry.prefix}/", body)
    assert made.status_code == (403 if entry.prefix in NOT_FOR_TENANTS else 201), made.content


@pytest.mark.matrix
@each_creating
@pytest.mark.parametrize(
    "name", ["tenant_id", "tenant", "owner", "owner_id", "id", "platform_role", "is_admin"]
)
def test_a_body_cannot_choose_its_owner(entry: Entry, side: Any, name: str) -> None:
    if (entry.prefix, name) in MEANT_TO_BE_FOREIGN:
        return
    body = {**BODIES[entry.prefix](objects_of(side.acme, side.globex)), name: side.globex.public_id}
    answer = side.stranger.post(f"/{entry.prefix}/", body)
    if entry.prefix in NOT_FOR_TENANTS:
        assert answer.status_code == 403
        return
    assert answer.status_code == 400, answer.content
    assert name in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.matrix
@each_with_details
def test_a_foreign_object_stays_as_it_is(entry: Entry, side: Any) -> None:
    foreign = checks.row_of(entry, side.globex)

    def stored() -> Any:
        with platform_scope("tests"):
            return entry.viewset.model.unscoped.filter(pk=foreign.pk).values().get()

    before = stored()
    for detail, served in entry.detail_paths(foreign.public_id):
        for method in served:
            body = {"reason": "x", "role": "viewer", "name": "taken", "state": "retired", "replicas": 2}
            side.stranger.request(method, f"/api/v1{detail}", body)
            side.stranger.request(method, f"/api/v1{detail}", {})
    assert stored() == before


# --- Mutants: viewsets that leak on purpose must fail the checks above
# -------------------------------------------


class LeakyKeyViewSet(KeyViewSet):
    """Both walls down: rows come through the platform door, whoever asks."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with platform_scope("mutant"):
            return super().dispatch(request, *args, **kwargs)


class HalfLeakyKeyViewSet(KeyViewSet):
    """The first wall down: the ORM's scope is left out, PostgreSQL still stands."""

    def rows(self) -> Any:
        return APIKey.unscoped.all()


class BoastfulKeyViewSet(KeyViewSet):
    """Refuses a foreign row, but not as if it did not exist."""

    def get_object(self) -> Any:
        from core.errors import NotAllowed, NotFound
        from core.ids import parse_public_id

        try:
            return super().get_object()
        except NotFound:
            with platform_scope("mutant"):
                if APIKey.objects.filter(pk=parse_public_id(self.kwargs["id"], "key")).exists():
                    raise NotAllowed("This is another tenant's.") from None
            raise


leaky_router = Router()
for name, viewset in (
    ("leaky", LeakyKeyViewSet),
    ("half", HalfLeakyKeyViewSet),
    ("boastful", BoastfulKeyViewSet),
):
    leaky_router.register(name, viewset, basename=name)
urlpatterns = [
    path("api/v1/", include("config.api")),
    path("api/leaky/", include((leaky_router.urls, "leaky"))),
]
LEAKY = {prefix: Entry(prefix, viewset, leaky_router) for prefix, viewset, _name in leaky_router.registry}


@pytest.fixture
def leaks(settings: Any, side: Any) -> Any:
    """The leaky viewsets mounted, and a row of each side."""
    settings.ROOT_URLCONF = __name__
    side.own, side.foreign = APIKeyFactory(tenant=side.acme), APIKeyFactory(tenant=side.globex)
    return side


def test_control_a_leak_below_an_object_is_caught(leaks: Any) -> None:
    for name, why in (("leaky", "answers a stranger with"), ("boastful", "tells a foreign row from none")):
        with pytest.raises(AssertionError, match=why):
            checks.assert_details_are_walled(
                LEAKY[name], leaks.foreign, leaks.stranger, leaks.owner, prefix="/api/leaky"
            )


def test_control_a_leak_in_a_list_is_caught(leaks: Any) -> None:
    with pytest.raises(AssertionError, match="shows a foreign row"):
        checks.assert_list_is_walled(
            LEAKY["leaky"], leaks.own, leaks.foreign, leaks.stranger, leaks.owner, prefix="/api/leaky"
        )


def test_control_a_leak_through_a_filter_is_caught(leaks: Any) -> None:
    assert "prefix" in KeyFilter.base_filters
    with pytest.raises(AssertionError, match="shows a foreign row"):
        checks.assert_filters_are_walled(
            LEAKY["leaky"], leaks.foreign, leaks.stranger, leaks.owner, prefix="/api/leaky"
        )


@pytest.mark.slow
def test_control_with_one_wall_down_the_other_stands(leaks: Any) -> None:
    entry = LEAKY["half"]
    checks.assert_list_is_walled(
        entry, leaks.own, leaks.foreign, leaks.stranger, leaks.owner, prefix="/api/leaky"
    )
    checks.assert_details_are_walled(entry, leaks.foreign, leaks.stranger, leaks.owner, prefix="/api/leaky")


def test_control_a_reference_past_the_selectors_is_caught(leaks: Any) -> None:
    from api.fields import ReferenceField

    def anybodys(*, public_id: str) -> Any:
        from core.ids import parse_public_id

        with platform_scope("mutant"):
            return Model.objects.get(pk=parse_public_id(public_id, "mdl"))

    class LeakyInput(CreateKey):
        model = ReferenceField("mdl", find=anybodys, required=False)

    class Reading(KeyViewSet):
        inputs = {"create": LeakyInput}

        def create(self, request: Any) -> Any:
            given = self.read(LeakyInput)
            given.pop("model", None)
            from access.services import keys

            key, secret = keys.create(actor=self.actor, **given)
            return self.answer(key, secret=secret)

    mutant = Router()
    mutant.register("reading", Reading, basename="reading")
    urlpatterns.append(path("api/reading/", include((mutant.urls, "reading"))))
    from django.urls import clear_url_caches

    clear_url_caches()
    foreign = {"mdl": ModelFactory(tenant=leaks.globex)}
    with pytest.raises(AssertionError, match="takes a foreign model"):
        checks.assert_references_are_walled(
            Entry("reading", Reading, mutant),
            {"name": "x", "scopes": ["invoke"]},
            foreign,
            leaks.stranger,
            prefix="/api/reading",
        )

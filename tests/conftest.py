"""The shared base of all tests: databases as in production, and a cast with fixed parts.

Alice owns Acme, Bob develops there, Dana views. Charlie owns Globex and must never see anything of Acme's.
Olive operates the platform, Sam supports it; neither is a member of any tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client, TransactionTestCase
from hypothesis import HealthCheck, settings
from pytest_django.plugin import DjangoDbBlocker
from servestatic.middleware import ServeStaticMiddleware

from accounts.models import User
from core.actors import Actor, system
from tenants.models import Membership, Tenant
from tests import database
from tests.examples import examples, sample
from tests.factories.accounts import UserFactory
from tests.factories.tenants import MembershipFactory, TenantFactory

# No deadline: how long an example takes depends on what else the machine does.
settings.register_profile(
    "atrium", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("atrium")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make quick` looks at a share of every generated matrix and at a few cases of every other table, always the
    same ones; `make test` at all of them."""
    kept = sample(items)
    left_out = [item for item in items if item not in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item in kept]


BACKEND = "accounts.backends.ThrottledModelBackend"


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """One database for this test process, migrated by the owner; tests connect as the application's role."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    name = f"atrium_test_{worker}"
    with django_db_blocker.unblock():
        database.prepare(name)
    # Django empties tables by TRUNCATE, which the application's role may not do.
    TransactionTestCase._fixture_teardown = lambda _self: database.empty_tables()  # type: ignore[method-assign]
    yield
    with django_db_blocker.unblock():
        database.disconnect()
        database.drop(name)


@pytest.fixture(scope="session", autouse=True)
def static_files_are_looked_for_once() -> Iterator[None]:
    """Every test client builds the middleware anew, and each walk over all static files takes 70 ms: the first
    one's finds serve all."""
    found: dict[str, Any] = {}
    walk = ServeStaticMiddleware.add_files_from_finders

    def look_once(middleware: ServeStaticMiddleware) -> None:
        if not found:
            walk(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServeStaticMiddleware, "add_files_from_finders", look_once)
        yield


@pytest.fixture
def acme(db: None) -> Tenant:
    """The tenant that most tests look out from."""
    return TenantFactory(slug="acme", name="Acme")


@pytest.fixture
def globex(db: None) -> Tenant:
    """The neighbour behind the other wall."""
    return TenantFactory(slug="globex", name="Globex")


@pytest.fixture
def alice(acme: Tenant) -> User:
    """Owner of Acme."""
    return _member(acme, "alice", "owner")


@pytest.fixture
def bob(acme: Tenant) -> User:
    """Developer of Acme."""
    return _member(acme, "bob", "developer")


@pytest.fixture
def dana(acme: Tenant) -> User:
    """Viewer of Acme."""
    return _member(acme, "dana", "viewer")


@pytest.fixture
def charlie(globex: Tenant) -> User:
    """Owner of Globex."""
    return _member(globex, "charlie", "owner")


@pytest.fixture
def olive(db: None) -> User:
    """The platform's operator."""
    return UserFactory(email="olive@atrium.example", name="Olive", platform_role="operator")


@pytest.fixture
def sam(db: None) -> User:
    """The platform's support."""
    return UserFactory(email="sam@atrium.example", name="Sam", platform_role="support")


@pytest.fixture
def sign_in() -> Callable[[User], Client]:
    """A browser in which somebody has signed in."""
    return _client


@pytest.fixture
def alice_client(alice: User) -> Client:
    """Alice's browser."""
    return _client(alice)


@pytest.fixture
def bob_client(bob: User) -> Client:
    """Bob's browser."""
    return _client(bob)


@pytest.fixture
def dana_client(dana: User) -> Client:
    """Dana's browser."""
    return _client(dana)


@pytest.fixture
def charlie_client(charlie: User) -> Client:
    """Charlie's browser."""
    return _client(charlie)


@pytest.fixture
def olive_client(olive: User) -> Client:
    """Olive's browser."""
    return _client(olive)


@pytest.fixture
def sam_client(sam: User) -> Client:
    """Sam's browser."""
    return _client(sam)


@pytest.fixture
def actor_of() -> Callable[..., Actor]:
    """The actor that a person is in a role: `actor_of(alice, "owner")`; a platform role comes by itself."""

    def make(user: User, role: str = "") -> Actor:
        return Actor(kind="person", label=user.email, id=user.pk, role=role, platform_role=user.platform_role)

    return make


@pytest.fixture
def machine() -> Actor:
    """The system acting for itself."""
    return system("tests")


def _member(tenant: Tenant, name: str, role: str) -> User:
    user: Any = UserFactory(email=f"{name}@{tenant.slug}.example", name=name.title())
    membership: Membership = MembershipFactory(tenant=tenant, user=user, role=role)
    assert membership.role == role
    return user


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client

"""The tenants and people of a first start, for trying the platform out. Their secrets stay on this
machine."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TypedDict

from django.conf import settings
from django.db import transaction

from access.models import KeyState, Scope
from access.selectors import key_by_secret
from access.services import keys
from accounts.models import PlatformRole, User
from accounts.services import users
from core import clock
from core.actors import system
from core.scoping import platform_scope, tenant_scope
from tenants.models import Membership, Role, Tenant
from tenants.services import members, tenants

ACTOR = system("demo")


class Person(TypedDict):
    """How to sign in. `password` is none once somebody has chosen their own."""

    email: str
    password: str | None
    role: str


class DemoTenant(TypedDict):
    """One demo tenant, with a key of all scopes."""

    slug: str
    name: str
    api_key: str
    users: list[Person]


class Demo(TypedDict):
    """Everything that `seed` made or found."""

    tenants: list[DemoTenant]
    staff: list[Person]


_TENANTS = {"acme": "Acme", "globex": "Globex"}
_PEOPLE = {Role.OWNER: "Owner", Role.DEVELOPER: "Developer", Role.VIEWER: "Viewer"}
_STAFF = {PlatformRole.OPERATOR: "Operator", PlatformRole.SUPPORT: "Support"}


def credentials_path() -> Path:
    """Where the demo's passwords and keys are kept, readable by this user alone."""
    return Path(settings.ATRIUM_HOME) / "demo.json"


@transaction.atomic
def seed() -> Demo:
    """Make the demo's tenants, people and keys where they are missing. Idempotent.

    What is printed at later starts is what was printed at the first: secrets are kept in
    `credentials_path()`. Without that file new passwords and keys are set, since stored hashes tell none.
    About half a second, most of it for hashing passwords.
    """
    kept = _read()
    passwords, api_keys = _secrets_in(kept)
    demo = Demo(tenants=[], staff=[])
    for slug, name in _TENANTS.items():
        with platform_scope(reason="demo"):
            tenant = Tenant.objects.filter(slug=slug).first() or tenants.create(
                actor=ACTOR, slug=slug, name=name
            )
            people = [
                _member(tenant, f"{role.value}@{slug}.example", f"{name} {title}", role, passwords)
                for role, title in _PEOPLE.items()
            ]
        api_key = _key(tenant, api_keys.get(slug, ""))
        demo["tenants"].append(DemoTenant(slug=slug, name=tenant.name, api_key=api_key, users=people))
    for role, title in _STAFF.items():
        email = f"{role.value}@atrium.example"
        user, password = _account(email, title, passwords, platform_role=role)
        demo["staff"].append(Person(email=user.email, password=password, role=role.value))
    if demo != kept:
        # After the commit: a file with secrets that no row knows would be of no use, the reverse mends
        # itself.
        transaction.on_commit(lambda: _write(demo))
    return demo


def _member(tenant: Tenant, email: str, name: str, role: Role, passwords: dict[str, str]) -> Person:
    user, password = _account(email, name, passwords)
    if not Membership.objects.filter(tenant_id=tenant.pk, user_id=user.pk).exists():
        members.add(tenant=tenant, user=user, role=role, actor=ACTOR)
    return Person(email=user.email, password=password, role=role.value)


def _account(
    email: str, name: str, passwords: dict[str, str], *, platform_role: str = PlatformRole.NONE
) -> tuple[User, str | None]:
    user = User.objects.filter(email=email).first()
    kept = passwords.get(email)
    if user is None:
        password = kept or secrets.token_urlsafe(12)
        made = users.create(
            actor=ACTOR, email=email, name=name, password=password, platform_role=platform_role
        )
        return made, password
    if kept is None:
        password = secrets.token_urlsafe(12)
        return users.set_password(user=user, actor=ACTOR, password=password), password
    return user, kept if user.check_password(kept) else None


def _key(tenant: Tenant, kept: str) -> str:
    key = key_by_secret(kept)
    if key is not None and key.tenant_id == tenant.pk and key.state(clock.now()) == KeyState.ACTIVE:
        return kept
    with tenant_scope(tenant.pk):
        _made, secret = keys.create(actor=ACTOR, name="demo", scopes=Scope.values)
    return secret


def _read() -> Demo | None:
    try:
        return json.loads(credentials_path().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _secrets_in(demo: Demo | None) -> tuple[dict[str, str], dict[str, str]]:
    """Passwords by e-mail address and keys by tenant, as far as the file has them."""
    if demo is None:
        return {}, {}
    try:
        people = [*demo["staff"], *(person for tenant in demo["tenants"] for person in tenant["users"])]
        passwords = {person["email"]: person["password"] for person in people}
        api_keys = {tenant["slug"]: tenant["api_key"] for tenant in demo["tenants"]}
    except (KeyError, TypeError):
        return {}, {}
    # A person who has chosen their own password has none in the file, and keeps it.
    return {email: password or "" for email, password in passwords.items()}, api_keys


def _write(demo: Demo) -> None:
    path = credentials_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    # SECURITY: never readable by others, not even for the moment before a chmod.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(demo, file, indent=2)
    draft.replace(path)

"""`createtenant`, `createapikey`, and the tenants of a first start."""

from __future__ import annotations

import json
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from access.models import APIKey
from access.selectors import key_by_secret
from access.services import keys
from accounts.models import User
from accounts.services import users
from core.actors import Actor
from core.scoping import platform_scope, tenant_scope
from tenants.models import Membership, Tenant
from tenants.services import demo

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    """Output and errors of a command."""
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


class TestCreateTenant:
    """`manage.py createtenant`."""

    def test_it_makes_the_tenant_and_the_owners_account(self) -> None:
        out, _err = run("createtenant", "initech", "--name", "Initech", "--owner", "Bill@initech.example")
        password = out.strip().rpartition(" ")[2]
        assert User.objects.get(email="bill@initech.example").check_password(password)
        with platform_scope(reason="tests"):
            assert Membership.objects.get().tenant.name == "Initech"

    def test_an_owner_who_has_an_account_keeps_it(self, alice: User) -> None:
        out, _err = run("createtenant", "initech", "--owner", alice.email)
        assert "Password" not in out
        with platform_scope(reason="tests"):
            assert Membership.objects.filter(user=alice, tenant__slug="initech", role="owner").exists()

    @pytest.mark.parametrize(
        ("slug", "owner", "sentence"),
        [
            ("www", "bill@initech.example", "reserved"),
            ("acme", "bill@initech.example", "already"),
            ("initech", "nobody", "not an e-mail address"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_left(
        self, acme: Tenant, slug: str, owner: str, sentence: str
    ) -> None:
        with pytest.raises(CommandError, match=sentence):
            run("createtenant", slug, "--owner", owner)
        assert not User.objects.exists()
        with platform_scope(reason="tests"):
            assert Tenant.objects.count() == 1


class TestCreateAPIKey:
    """`manage.py createapikey`."""

    def test_the_key_alone_goes_to_standard_output(self, acme: Tenant) -> None:
        out, err = run(
            "createapikey", "acme", "--name", "ci", "--scopes", "invoke, read", "--expires-days", "7"
        )
        key = key_by_secret(out.strip())
        assert key is not None
        assert (key.tenant_id, key.name, key.scopes) == (acme.pk, "ci", ["invoke", "read"])
        assert key.expires_at is not None
        assert key.public_id in err
        assert out.strip() not in err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("nobody",),
            ("acme", "--scopes", "everything"),
            ("acme", "--networks", "10.0.0.1/8"),
            ("acme", "--models", "../x"),
            ("acme", "--expires-days", "-1"),
        ],
    )
    def test_what_is_wrong_is_said(self, acme: Tenant, arguments: tuple[str, ...]) -> None:
        with pytest.raises(CommandError):
            run("createapikey", *arguments)
        with platform_scope(reason="tests"):
            assert not APIKey.objects.exists()


class TestDemo:
    """The first start, and every later one."""

    @pytest.fixture(autouse=True)
    def home(self, settings: Settings, tmp_path: Path) -> Path:
        """An empty home."""
        settings.ATRIUM_HOME = tmp_path / "home"
        return settings.ATRIUM_HOME

    @pytest.fixture
    def seed(self, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks):  # type: ignore[no-untyped-def]
        """Seed as if in a transaction of its own."""

        def run() -> demo.Demo:
            with django_capture_on_commit_callbacks(execute=True):
                return demo.seed()

        return run

    def test_it_makes_two_tenants_with_people_and_a_key_each(self, seed, home: Path) -> None:  # type: ignore[no-untyped-def]
        made = seed()
        assert [tenant["slug"] for tenant in made["tenants"]] == ["acme", "globex"]
        for tenant in made["tenants"]:
            assert [user["role"] for user in tenant["users"]] == ["owner", "developer", "viewer"]
            key = key_by_secret(tenant["api_key"])
            assert key is not None
            assert key.scopes == ["invoke", "read", "manage"]
            with tenant_scope(key.tenant_id):
                roles = {m.user.email: m.role for m in Membership.objects.select_related("user")}
            assert roles == {user["email"]: user["role"] for user in tenant["users"]}
        assert [(staff["email"], staff["role"]) for staff in made["staff"]] == [
            ("operator@atrium.example", "operator"),
            ("support@atrium.example", "support"),
        ]
        everybody = [*made["staff"], *(user for tenant in made["tenants"] for user in tenant["users"])]
        for person in everybody:
            assert authenticate(username=person["email"], password=person["password"]) is not None
        passwords = {person["password"] for person in everybody}
        assert len(passwords) == len(everybody)

    def test_the_file_is_for_this_user_alone(self, seed, home: Path) -> None:  # type: ignore[no-untyped-def]
        made = seed()
        assert json.loads((home / "demo.json").read_text()) == made
        assert stat.S_IMODE((home / "demo.json").stat().st_mode) == 0o600
        assert [file.name for file in home.iterdir()] == ["demo.json"]

    def test_later_starts_print_the_same_and_make_nothing(self, seed) -> None:  # type: ignore[no-untyped-def]
        first = seed()
        written = demo.credentials_path().stat().st_mtime_ns
        assert seed() == first
        assert demo.credentials_path().stat().st_mtime_ns == written
        with platform_scope(reason="tests"):
            assert (APIKey.objects.count(), Membership.objects.count(), Tenant.objects.count()) == (2, 6, 2)
        assert User.objects.count() == 8

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "content", [None, "", "{", "[]", '{"tenants": [1], "staff": []}', '{"tenants": 1}']
    )
    def test_without_a_readable_file_new_secrets_are_set(self, seed, content: str | None) -> None:  # type: ignore[no-untyped-def]
        first = seed()
        if content is None:
            demo.credentials_path().unlink()
        else:
            demo.credentials_path().write_text(content)
        second = seed()
        person = second["tenants"][0]["users"][0]
        assert person["password"] != first["tenants"][0]["users"][0]["password"]
        assert authenticate(username=person["email"], password=person["password"]) is not None
        assert second["tenants"][0]["api_key"] != first["tenants"][0]["api_key"]

    def test_with_a_new_database_the_old_passwords_are_kept(self, seed, home: Path) -> None:  # type: ignore[no-untyped-def]
        first = seed()
        with platform_scope(reason="tests"):
            Membership.unscoped.all().delete()
        User.objects.filter(email="owner@acme.example").delete()
        second = seed()
        assert second["tenants"][0]["users"] == first["tenants"][0]["users"]

    def test_a_password_that_somebody_chose_is_left_alone(self, seed, machine: Actor) -> None:  # type: ignore[no-untyped-def]
        seed()
        owner = User.objects.get(email="owner@acme.example")
        users.set_password(user=owner, actor=machine, password="a long enough sentence")
        for _ in range(2):
            assert seed()["tenants"][0]["users"][0]["password"] is None
            owner.refresh_from_db()
            assert owner.check_password("a long enough sentence")

    def test_a_key_that_was_revoked_is_replaced(self, seed, machine: Actor) -> None:  # type: ignore[no-untyped-def]
        first = seed()
        key = key_by_secret(first["tenants"][0]["api_key"])
        assert key is not None
        with tenant_scope(key.tenant_id):
            keys.revoke(key=key, actor=machine)
        second = seed()
        assert second["tenants"][0]["api_key"] != first["tenants"][0]["api_key"]
        assert second["tenants"][1] == first["tenants"][1]

    def test_nothing_is_written_when_the_database_refuses(
        self,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(keys, "create", refuse)
        with django_capture_on_commit_callbacks(execute=True), pytest.raises(ZeroDivisionError):
            demo.seed()
        assert not User.objects.exists()
        assert not home.exists()

"""The audit trail: written with the change or not at all, without secrets, and never changed afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import ProtectedError
from hypothesis import given
from hypothesis import strategies as st

from access import secrets
from accounts.models import User
from audit import selectors
from audit.models import AuditEvent
from audit.redaction import clean, clean_text
from audit.services import record, record_platform_access
from core.actors import Actor
from core.errors import NotFound
from core.scoping import ScopeError, platform_scope, tenant_scope, user_scope
from observability.redaction import MASK
from tenants.models import Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.audit import AuditEventFactory

pytestmark = pytest.mark.django_db


class TestRecord:
    """Writing."""

    def test_it_keeps_who_did_what_to_which(
        self, acme: Tenant, alice: User, actor_of: Callable[..., Actor]
    ) -> None:
        key = APIKeyFactory(tenant=acme, name="program")
        actor = Actor(**{**_fields(actor_of(alice, "owner")), "address": "203.0.113.7"})
        with tenant_scope(acme.pk), structlog.contextvars.bound_contextvars(request_id="req_1"):
            event = record(
                "access.key.renamed",
                actor=actor,
                target=key,
                reason="tidy",
                before={"name": "a"},
                after={"name": "b"},
            )
            event.refresh_from_db()
        assert (event.tenant_id, event.action, event.reason) == (acme.pk, "access.key.renamed", "tidy")
        assert (event.actor_kind, event.actor_id, event.actor_label) == ("person", alice.pk, alice.email)
        assert (event.actor_role, event.address, event.request_id) == ("owner", "203.0.113.7", "req_1")
        assert (event.target_type, event.target_id) == ("access.APIKey", key.public_id)
        assert event.target_label == str(key)
        assert (event.before, event.after) == ({"name": "a"}, {"name": "b"})
        assert str(event).endswith(f"{alice.email} access.key.renamed")

    def test_it_goes_with_a_change_that_is_rolled_back(self, acme: Tenant, machine: Actor) -> None:
        def change() -> None:
            with transaction.atomic():
                record("things.thing.done", actor=machine, tenant_id=acme.pk)
                raise ZeroDivisionError

        with tenant_scope(acme.pk):
            with pytest.raises(ZeroDivisionError):
                change()
            assert AuditEvent.objects.count() == 0

    def test_nothing_is_written_into_another_tenants_trail(
        self, acme: Tenant, globex: Tenant, machine: Actor
    ) -> None:
        with tenant_scope(acme.pk):
            record("things.thing.done", actor=machine, tenant_id=acme.pk)
            with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
                record("things.thing.done", actor=machine, tenant_id=globex.pk)

    def test_a_tenants_event_needs_its_scope(self, acme: Tenant, machine: Actor) -> None:
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            record("things.thing.done", actor=machine, tenant_id=acme.pk)

    def test_the_platforms_own_events_are_written_anywhere_and_read_behind_its_door(
        self, acme: Tenant, alice: User, olive: User, actor_of: Callable[..., Actor]
    ) -> None:
        event = record_platform_access(actor=actor_of(olive), reason="support case 7", what="GET /admin/")
        with tenant_scope(acme.pk):
            record("things.thing.done", actor=actor_of(olive))
            assert AuditEvent.objects.count() == 0
        with user_scope(alice.pk), pytest.raises(ScopeError):
            AuditEvent.objects.count()
        with platform_scope(reason="tests"):
            found = AuditEvent.objects.get(action="audit.platform.accessed")
        assert found == event
        assert (found.tenant_id, found.actor_role, found.reason) == (None, "operator", "support case 7")
        assert found.after == {"what": "GET /admin/"}

    def test_no_secret_is_kept_in_any_field(self, machine: Actor, acme: Tenant) -> None:
        secret = secrets.new_secret()
        target = APIKeyFactory(tenant=acme, name=f"pasted {secret}"[:100])
        with tenant_scope(acme.pk):
            event = record(
                "things.thing.done",
                actor=Actor(kind="system", label=f"job {secret}"),
                target=target,
                reason=f"leaked: {secret}",
                before={"password": "hunter2", "note": secret},
                after={"remote_credential": "hunter2", "note": [secret]},
            )
        kept = str(vars(event))
        assert secret[13:] not in kept
        assert "hunter2" not in kept

    def test_long_and_odd_texts_are_cut_and_kept(self, machine: Actor) -> None:
        actor = Actor(kind="system", label="x" * 500, address="y" * 100)
        event = record(
            "things.thing.done", actor=actor, reason="a\x00b" + "z" * 3000, after={"text\x00": "a\x00"}
        )
        assert len(event.actor_label) == 254
        assert event.reason.startswith("abz")
        assert len(event.reason) == 1000


class TestAppendOnly:
    """Nobody changes what was written."""

    @pytest.mark.parametrize("role", ["atrium_app", "atrium_platform"])
    def test_the_roles_of_servers_may_read_and_write_and_no_more(self, role: str) -> None:
        privileges = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name FROM unnest(%s::text[]) AS name WHERE has_table_privilege(%s, 'audit_auditevent', name)",
                [privileges, role],
            )
            assert [row[0] for row in cursor.fetchall()] == ["SELECT", "INSERT"]

    def test_an_event_is_neither_changed_nor_removed(self, acme: Tenant) -> None:
        event = AuditEventFactory(tenant=acme)
        with tenant_scope(acme.pk):
            for change in (
                lambda: AuditEvent.objects.update(reason="other"),
                lambda: AuditEvent.objects.all().delete(),
                lambda: event.save(),
                lambda: event.delete(),
            ):
                with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
                    change()
        behind_the_door = platform_scope(reason="tests")
        with behind_the_door, pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            AuditEvent.objects.update(reason="other")

    def test_a_tenant_with_a_trail_is_not_deleted(self, acme: Tenant) -> None:
        AuditEventFactory(tenant=acme)
        with platform_scope(reason="tests"), pytest.raises(ProtectedError):
            acme.delete()


class TestRedaction:
    """Secrets do not get in."""

    @pytest.mark.slow
    @given(st.builds(secrets.new_secret), st.text(max_size=20))
    def test_no_key_gets_in_wherever_it_stands(self, secret: str, around: str) -> None:
        values = {
            "name": f"{around} {secret} {around}",
            "list": [secret],
            "set": {secret},
            "deep": {"a": {"b": secret}},
        }
        hidden = secret.removeprefix(f"atr-{secrets.prefix_of(secret)}-")
        assert hidden not in str(clean(values))
        assert hidden not in clean_text(f"Authorization: Bearer {secret}")

    @pytest.mark.parametrize(
        "name",
        [
            "password",
            "secret",
            "client_secret",
            "api_key",
            "Authorization",
            "remote_credential",
            "digest",
            "token",
        ],
    )
    def test_fields_with_names_of_secrets_are_masked(self, name: str) -> None:
        assert clean({name: "hunter2", "other": 1}) == {name: MASK, "other": 1}
        assert clean({name: ""}) == {name: ""}
        assert clean({name: None}) == {name: None}

    def test_what_only_sounds_like_one_stays(self) -> None:
        fields = {"max_tokens": 5, "prompt_tokens": 7, "key_id": "key_1", "name": "password policy"}
        assert clean(fields) == fields

    def test_other_types_are_kept_as_text(self) -> None:
        assert clean(
            {"at": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1), "roles": {"b", "a"}, "n": None}
        ) == {
            "at": "2026-01-02T00:00:00+00:00",
            "id": "00000000-0000-0000-0000-000000000001",
            "roles": ["a", "b"],
            "n": None,
        }


class TestSelectors:
    """Reading."""

    def test_a_tenant_reads_its_own_trail_newest_first(
        self, acme: Tenant, globex: Tenant, alice: User
    ) -> None:
        first, second = AuditEventFactory.create_batch(2, tenant=acme, action="access.key.created")
        third = AuditEventFactory(
            tenant=acme, action="access.key.revoked", target_id="key_1", actor_id=alice.pk
        )
        AuditEventFactory(tenant=globex, action="access.key.revoked", target_id="key_1")
        AuditEventFactory(tenant=None)
        with tenant_scope(acme.pk):
            assert list(selectors.events()) == [third, second, first]
            assert list(selectors.events(action="access.key.")) == [third, second, first]
            assert list(selectors.events(action="access.key.created")) == [second, first]
            assert list(selectors.events(target_id="key_1")) == [third]
            assert list(selectors.events(actor_id=alice.pk)) == [third]
            assert list(selectors.events(action="access.k")) == []
        with platform_scope(reason="tests"):
            assert selectors.events(action="access.key.revoked").count() == 2

    def test_another_tenants_event_is_not_found(self, acme: Tenant, globex: Tenant) -> None:
        mine, theirs = AuditEventFactory(tenant=acme), AuditEventFactory(tenant=globex)
        with tenant_scope(acme.pk):
            assert selectors.event_by_public_id(public_id=mine.public_id) == mine
            for public_id in (theirs.public_id, "aud_00000000000000000000000000", "x"):
                with pytest.raises(NotFound):
                    selectors.event_by_public_id(public_id=public_id)


def _fields(actor: Actor) -> dict[str, object]:
    return {name: getattr(actor, name) for name in Actor.__slots__}

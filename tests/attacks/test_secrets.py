"""Attacks 13 and 15: neither a copy of the database nor any list gives a credential away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client

from access.secrets import digest, new_secret
from access.services import keys
from config.api import router
from core.actors import Actor
from core.encryption import decrypt, derive_key, encrypt
from core.scoping import platform_scope, tenant_scope
from core.valkey import sync_client
from models_registry.models import Deployment
from models_registry.services import deployments
from tenants.models import Tenant
from tests.api.client import REST
from tests.database import admin_url
from tests.factories.access import APIKeyFactory
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

PROVIDER_SECRET = "sk-provider-qzx7-0123456789abcdef"


def dump() -> str:
    """Every row of every table, as whoever copied the database would read it."""
    with _everything() as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return "\n".join(str(row[0]) for (table,) in tables for row in _rows(connection, table))


def _everything() -> psycopg.Connection[Any]:
    """As whoever holds the database's files: no wall stands here."""
    return psycopg.connect(admin_url(), dbname=connections["default"].settings_dict["NAME"])


def _rows(connection: psycopg.Connection[Any], table: str) -> Iterator[Any]:
    # A table's name from the catalogue, quoted by format().
    return iter(connection.execute(f"SELECT t::text FROM {table} t").fetchall())


@pytest.mark.django_db(transaction=True)
def test_a_copy_of_the_database_opens_nothing(acme: Tenant, machine: Actor) -> None:
    secret = new_secret()
    with tenant_scope(acme.pk):
        APIKeyFactory(tenant=acme, secret=secret, name="name-of-the-key")
    with platform_scope("tests"):
        model = ModelFactory(tenant=None, name="remote")
        deployment = DeploymentFactory(
            tenant=None,
            version=ModelVersionFactory(tenant=None, model=model),
            name="remote",
            engine="openai",
            remote_base_url="https://models.example/v1",
            remote_model="m",
        )
        deployments.set_credential(deployment=deployment, credential=PROVIDER_SECRET, actor=machine)
    copied = dump()
    assert "name-of-the-key" in copied, "the control: it is the whole database"
    for given_away in (secret, secret[4:], PROVIDER_SECRET, PROVIDER_SECRET[3:]):
        assert given_away not in copied
    # What stands there instead: a keyed hash that nobody makes without the pepper, and a cipher.
    assert digest(secret) in copied
    assert hashlib.sha256(secret.encode()).hexdigest() not in copied
    with platform_scope("tests"):
        cipher = Deployment.objects.get(pk=deployment.pk).remote_credential
    assert cipher in copied
    assert REST(key=digest(secret)).get("/me/").status_code == 401, "what is stored is no key"
    assert REST(key=secret).get("/me/").status_code != 401


def test_each_purpose_has_a_key_of_its_own() -> None:
    secret = settings.ENCRYPTION_KEYS[0]
    derived = {
        derive_key(secret, purpose) for purpose in ("remote-credential", "api-key", "cache-salt", "canary")
    }
    assert len(derived) == 4
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypt("another-purpose", encrypt("remote-credential", PROVIDER_SECRET))


@pytest.mark.django_db(transaction=True)
def test_nor_does_what_valkey_holds(acme: Tenant, alice: Any, actor_of: Any) -> None:
    with tenant_scope(acme.pk):
        _row, secret = keys.create(actor=actor_of(alice, "owner"), name="made", scopes=["invoke"])
    client = sync_client()
    held = [str(key) + str(client.dump(key)) for key in client.scan_iter(count=1_000)]
    assert held, "the control: an event was told of the key"
    assert not any(secret in each for each in held)


@pytest.mark.slow
@pytest.mark.django_db
def test_no_list_and_no_self_returns_a_hash_or_a_token(
    acme: Tenant, alice_client: Client, olive_client: Client
) -> None:
    secret = new_secret()
    key = APIKeyFactory(tenant=acme, secret=secret)
    passwords = list(get_user_model().objects.exclude(password="").values_list("password", flat=True))
    assert passwords, "the control: there are hashes"
    seen = ""
    for client in (alice_client, olive_client):
        rest = REST(client)
        for prefix in sorted(prefix for prefix, _view, _name in router.registry):
            answer = rest.get(f"/{prefix}/")
            seen += "" if getattr(answer, "streaming", False) else answer.content.decode("utf-8", "replace")
    assert key.public_id in seen, "the control: keys are listed"
    for given_away in (secret, key.digest, *passwords):
        assert given_away not in seen
    for word in ('"password"', '"digest_of_secret"', '"remote_credential"', '"mfa_secret"'):
        assert word not in seen

"""Registering models and versions, describing them, aliases; and finding them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.models import User
from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope, tenant_scope
from models_registry import selectors
from models_registry.errors import ArtifactRefused
from models_registry.models import Alias, Model, ModelVersion
from models_registry.services import aliases, models, versions
from tenants.models import Tenant
from tests.factories.models_registry import AliasFactory, ModelFactory, ModelVersionFactory
from tests.models_registry.files import make_model, safetensors

pytestmark = pytest.mark.django_db

ActorOf = Callable[..., Actor]
SYSTEM = system("tests")


# --- Registering --------------------------------------------------------------------------------------------------


def test_an_operator_registers_a_model_of_the_platform(root: Path, olive: User, actor_of: ActorOf) -> None:
    folder = make_model(root / "good")
    with platform_scope(reason="tests"):
        version = models.register(
            actor=actor_of(olive),
            name="good",
            path=folder,
            visibility="public",
            description={"title": "Good", "tags": ["a", "a", " b  c "], "licence": "MIT"},
        )
        version.refresh_from_db()
        assert (version.state, version.number, version.source) == ("staging", 1, "folder")
        assert (version.artifact_path, version.parameters, version.context_length) == (str(folder), 14, 2048)
        assert set(version.manifest) == {
            "chat_template.jinja",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        }
        assert (version.model.tenant_id, version.model.namespace) == (None, "")
        assert (version.model.title, version.model.tags) == ("Good", ["a", "b c"])
        assert set(AuditEvent.objects.values_list("action", flat=True)) == {
            "models_registry.model.registered",
            "models_registry.version.registered",
        }


def test_a_tenant_registers_from_its_own_folder_alone(
    root: Path, acme: Tenant, alice: User, actor_of: ActorOf
) -> None:
    make_model(root / "tenants" / "acme" / "ours")
    theirs = make_model(root / "tenants" / "globex" / "theirs")
    platforms = make_model(root / "platforms")
    arguments: dict[str, Any] = {"actor": actor_of(alice, "owner"), "tenant": acme}
    with tenant_scope(acme.pk):
        version = models.register(name="ours", path="ours", **arguments)
        assert (version.tenant_id, version.model.namespace, version.model.visibility) == (
            acme.pk,
            "acme",
            "private",
        )
        for path in (theirs, platforms, "../globex/theirs", "/etc"):
            with pytest.raises(ArtifactRefused) as caught:
                models.register(name="stolen", path=path, **arguments)
            assert caught.value.reason == "outside_roots"
            with pytest.raises(ArtifactRefused):
                versions.register(model=version.model, actor=arguments["actor"], path=path)


@pytest.mark.parametrize("role", ["developer", "viewer", "billing", ""])
def test_who_may_not_register(root: Path, acme: Tenant, role: str) -> None:
    make_model(root / "tenants" / "acme" / "ours")
    with tenant_scope(acme.pk), pytest.raises(NotAllowed):
        models.register(
            actor=Actor(kind="person", label="x", role=role), name="ours", tenant=acme, path="ours"
        )


def test_a_tenant_registers_nothing_for_the_platform_or_a_neighbour(
    acme: Tenant, globex: Tenant, alice: User, actor_of: ActorOf
) -> None:
    with tenant_scope(acme.pk):
        for tenant in (None, globex):
            with pytest.raises(NotAllowed):
                models.register(actor=actor_of(alice, "owner"), name="x", tenant=tenant, source="simulated")


def test_a_name_means_one_model_of_its_owner(acme: Tenant, globex: Tenant) -> None:
    with platform_scope(reason="tests"):
        for tenant in (acme, globex, None):
            models.register(actor=SYSTEM, name="same", tenant=tenant, source="simulated")
            with pytest.raises(Conflict) as caught:
                models.register(actor=SYSTEM, name="same", tenant=tenant, source="simulated")
            assert caught.value.code == "name_taken"
            with pytest.raises(IntegrityError), transaction.atomic():
                Model(tenant=tenant, namespace=tenant.slug if tenant else "", name="same").save(
                    force_insert=True
                )


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("name", {"name": "Upper"}),
        ("name", {"name": "a/b"}),
        ("name", {"name": "a\n"}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 101}),
        ("task", {"task": "paint"}),
        ("visibility", {"visibility": "secret"}),
        ("source", {"source": "carrier pigeon"}),
        ("source", {"source": "remote", "path": "/x"}),
        ("path", {"source": "folder"}),
        ("context_length", {"context_length": 0}),
        ("label", {"label": "x" * 101}),
        ("tags", {"description": {"tags": ["a\n"] + [str(number) for number in range(30)]}}),
        ("tags", {"description": {"tags": [""]}}),
        ("title", {"description": {"title": "x" * 201}}),
        ("tenant", {"description": {"tenant": "x"}}),
        ("namespace", {"description": {"namespace": "globex"}}),
    ],
    ids=repr,
)
def test_what_is_wrong_is_named(field: str, arguments: dict[str, Any]) -> None:
    with platform_scope(reason="tests"):
        with pytest.raises(InvalidInput) as caught:
            models.register(**{"actor": SYSTEM, "name": "x", "source": "simulated", **arguments})
        assert caught.value.field == field
        assert not Model.objects.exists()


def test_further_versions_are_numbered_and_verified(root: Path) -> None:
    folder = make_model(root / "good")
    with platform_scope(reason="tests"):
        first = models.register(actor=SYSTEM, name="good", path=folder)
        make_model(folder, weights=safetensors({"a": ("F32", [3])}))
        second = versions.register(
            model=first.model, actor=SYSTEM, path=folder, label="better", context_length=100
        )
        assert (second.number, second.label, second.context_length) == (2, "better", 100)
        assert second.digest != first.digest
        assert list(selectors.versions(model=first.model)) == [second, first]
        (folder / "model.safetensors").write_bytes(b"")
        with pytest.raises(ArtifactRefused):
            versions.register(model=first.model, actor=SYSTEM, path=folder)


def test_a_wrong_digest_is_refused(root: Path) -> None:
    folder = make_model(root / "good")
    with platform_scope(reason="tests"), pytest.raises(ArtifactRefused) as caught:
        models.register(actor=SYSTEM, name="good", path=folder, expected={"config.json": "0" * 64})
    assert caught.value.reason == "wrong_digest"


# --- Describing ---------------------------------------------------------------------------------------------------


def test_a_model_is_described_by_who_manages_it(
    acme: Tenant, alice: User, bob: User, actor_of: ActorOf
) -> None:
    model = ModelFactory(tenant=acme)
    with tenant_scope(acme.pk):
        changed = models.describe(
            model=model, actor=actor_of(alice, "owner"), title="T", restrict_to_members=True
        )
        assert (changed.title, changed.restrict_to_members) == ("T", True)
        event = AuditEvent.objects.get(action="models_registry.model.changed")
        assert (event.before, event.after) == (
            {"title": "", "restrict_to_members": False},
            {"title": "T", "restrict_to_members": True},
        )
        with pytest.raises(NotAllowed):
            models.describe(model=model, actor=actor_of(bob, "developer"), title="X")
        for name in ("name", "tenant_id", "namespace", "visibility", "id"):
            with pytest.raises(InvalidInput):
                models.describe(model=model, actor=actor_of(alice, "owner"), **{name: "x"})


def test_visibility_is_changed_by_who_manages(
    acme: Tenant, alice: User, bob: User, actor_of: ActorOf
) -> None:
    model = ModelFactory(tenant=acme)
    with tenant_scope(acme.pk):
        for visibility in ("public", "public", "granted", "private"):
            models.set_visibility(model=model, visibility=visibility, actor=actor_of(alice, "owner"))
            model.refresh_from_db()
            assert model.visibility == visibility
        assert AuditEvent.objects.count() == 3
        with pytest.raises(NotAllowed):
            models.set_visibility(model=model, visibility="public", actor=actor_of(bob, "developer"))
        with pytest.raises(InvalidInput):
            models.set_visibility(model=model, visibility="secret", actor=actor_of(alice, "owner"))


def test_retiring_a_model_retires_every_version(acme: Tenant, alice: User, actor_of: ActorOf) -> None:
    model = ModelFactory(tenant=acme)
    for number, state in enumerate(("online", "staging", "draft", "retired", "deprecated"), 1):
        ModelVersionFactory(model=model, number=number, state=state)
    with tenant_scope(acme.pk):
        for _ in range(2):
            models.retire(model=model, actor=actor_of(alice, "owner"))
        assert set(ModelVersion.objects.values_list("state", flat=True)) == {"retired"}


# --- Aliases ------------------------------------------------------------------------------------------------------


def test_a_tenant_gives_names_of_its_own(acme: Tenant, globex: Tenant, bob: User, actor_of: ActorOf) -> None:
    own = ModelVersionFactory(tenant=acme)
    public = ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public"))
    hidden = ModelVersionFactory(tenant=globex)
    arguments: dict[str, Any] = {"actor": actor_of(bob, "developer"), "tenant": acme}
    with tenant_scope(acme.pk):
        alias = aliases.set_alias(name="Qwen/Qwen3-8B", version=public, **arguments)
        assert aliases.set_alias(name="Qwen/Qwen3-8B", version=own, **arguments) == alias
        assert Alias.objects.get().version == own
        with pytest.raises(NotFound):
            aliases.set_alias(name="x", version=hidden, **arguments)
        for name in ("", "a b", "/x", "x" * 151, "a\n"):
            with pytest.raises(InvalidInput):
                aliases.set_alias(name=name, version=own, **arguments)
        with pytest.raises(NotAllowed):
            aliases.set_alias(name="x", version=own, actor=arguments["actor"], tenant=None)
        with pytest.raises(NotAllowed):
            aliases.set_alias(name="x", version=own, actor=arguments["actor"], tenant=globex)
        aliases.remove(alias=alias, actor=arguments["actor"])
        assert not Alias.objects.exists()


def test_a_viewer_gives_and_takes_no_names(acme: Tenant, dana: User, actor_of: ActorOf) -> None:
    alias = AliasFactory(tenant=acme)
    with tenant_scope(acme.pk):
        with pytest.raises(NotAllowed):
            aliases.set_alias(name="x", version=alias.version, actor=actor_of(dana, "viewer"), tenant=acme)
        with pytest.raises(NotAllowed):
            aliases.remove(alias=alias, actor=actor_of(dana, "viewer"))


def test_a_tenant_does_not_take_a_platform_wide_name_away(
    acme: Tenant, alice: User, actor_of: ActorOf
) -> None:
    alias = AliasFactory(version=ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public")))
    with tenant_scope(acme.pk), pytest.raises(NotAllowed):
        aliases.remove(alias=alias, actor=actor_of(alice, "owner"))


# --- Finding ------------------------------------------------------------------------------------------------------


def test_a_model_is_found_by_name_from_where_one_stands(acme: Tenant, globex: Tenant) -> None:
    own = ModelFactory(tenant=acme, name="same")
    platforms = ModelFactory(tenant=None, name="same", visibility="public")
    theirs = ModelFactory(tenant=globex, name="same", visibility="public")
    with tenant_scope(acme.pk):
        assert selectors.model_by_name(name="same") == own
        assert selectors.model_by_name(name="acme/same") == own
        assert selectors.model_by_name(name="globex/same") == theirs
    with platform_scope(reason="tests"):
        assert selectors.model_by_name(name="same") == platforms


def test_what_is_absent_and_what_is_hidden_are_told_apart_by_nobody(acme: Tenant, globex: Tenant) -> None:
    version = ModelVersionFactory(tenant=globex)
    alias = AliasFactory(version=version)
    said = set()
    with tenant_scope(acme.pk):
        for public_id in (version.model.public_id, Model().public_id, "mdl_x", "nonsense"):
            with pytest.raises(NotFound) as caught:
                selectors.model_by_public_id(public_id=public_id)
            said.add((caught.value.message, caught.value.code))
        assert len(said) == 1
        with pytest.raises(NotFound):
            selectors.model_by_id(model_id=version.model_id)
        with pytest.raises(NotFound):
            selectors.model_by_name(name=version.model.qualified_name)
        with pytest.raises(NotFound):
            selectors.version_by_public_id(public_id=version.public_id)
        with pytest.raises(NotFound):
            selectors.version_by_number(model=version.model, number=version.number)
        with pytest.raises(NotFound):
            selectors.alias_by_public_id(public_id=alias.public_id)
        with pytest.raises(NotFound):
            selectors.deployment_by_public_id(public_id="dep_x")
    with tenant_scope(globex.pk):
        assert selectors.model_by_public_id(public_id=version.model.public_id) == version.model
        assert selectors.alias_by_public_id(public_id=alias.public_id) == alias

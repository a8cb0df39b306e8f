"""Home, playground, account and the pages for what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.core.files.storage import FileSystemStorage
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import translation

from console import extensions
from console.static_files import VersionedStaticFilesStorage
from tenants.models import Tenant
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

HOME = reverse("console:home")
PLAYGROUND = reverse("console:playground")
ACCOUNT = reverse("console:account")
ROOT = Path(django_settings.ROOT)


@pytest.fixture
def chatter() -> Any:
    """A model that everyone may chat with."""
    model = ModelFactory(tenant=None, name="chatter", visibility="public", task="chat")
    return DeploymentFactory(version=ModelVersionFactory(model=model, tenant=None), tenant=None)


@pytest.fixture
def globex_only(globex: Tenant) -> Any:
    """A model of Globex's own."""
    model = ModelFactory(tenant=globex, name="globex-secret", task="chat")
    return DeploymentFactory(version=ModelVersionFactory(model=model))


def test_home_says_which_tenant_and_how_to_call(alice_client: Client, chatter: Any) -> None:
    page = alice_client.get(HOME).content.decode()
    assert "http://testserver/v1" in page
    assert "http://testserver/t/acme/v1" in page
    assert "chatter" in page
    assert "$ATRIUM_API_KEY" in page
    assert not re.search(r"atr-[a-z]{8}-\w", page), "no key, not even a part of one"


def test_home_shows_no_other_tenants_models(alice_client: Client, globex_only: Any) -> None:
    page = alice_client.get(HOME).content.decode()
    assert "globex-secret" not in page
    assert "No model is deployed" in page


def test_a_public_address_of_ones_own_stands_in_the_examples(alice_client: Client, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://ai.example/"
    assert "https://ai.example/v1" in alice_client.get(HOME).content.decode()


def test_people_without_a_tenant_are_told_what_to_do(sign_in: Callable[..., Client], db: None) -> None:
    client = sign_in(UserFactory(name="Nora"))
    assert "not a member of any tenant" in client.get(HOME).content.decode()
    assert 'id="playground"' not in client.get(PLAYGROUND).content.decode()


def test_a_suspended_tenant_is_told_so(alice_client: Client, acme: Tenant) -> None:
    from core.scoping import platform_scope

    with platform_scope(reason="tests"):
        Tenant.objects.filter(pk=acme.pk).update(status="suspended")
    assert "suspended" in alice_client.get(HOME).content.decode()


def test_only_staff_see_the_way_to_the_administration(alice_client: Client, olive_client: Client) -> None:
    admin = reverse("admin:index")
    assert f'href="{admin}"' not in alice_client.get(HOME).content.decode()
    assert f'href="{admin}"' in olive_client.get(HOME).content.decode()


def test_the_playground_offers_chat_models_only(alice_client: Client, chatter: Any) -> None:
    embedder = ModelFactory(tenant=None, name="embedder", visibility="public", task="embedding")
    DeploymentFactory(version=ModelVersionFactory(model=embedder, tenant=None), tenant=None)
    page = alice_client.get(PLAYGROUND).content.decode()
    assert '<option value="chatter"' in page
    assert "embedder" not in page


def test_names_are_escaped(alice: Any, alice_client: Client, acme: Tenant) -> None:
    from core.scoping import platform_scope

    with platform_scope(reason="tests"):
        Tenant.objects.filter(pk=acme.pk).update(name="<b>Acme</b>")
    get_user_model().objects.filter(pk=alice.pk).update(name='"><script>')
    page = alice_client.get(HOME).content.decode()
    assert "<b>Acme</b>" not in page
    assert '"><script>' not in page


def test_navigation_shows_what_one_may_use_and_where_one_is(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = extensions.NavEntry("Operators only", "console:account", "key", permission="inference.node.read")
    monkeypatch.setattr(extensions, "_entries", [*extensions.entries(), entry])
    page = alice_client.get(HOME).content.decode()
    assert "Operators only" not in page
    assert re.search(rf'href="{HOME}" aria-current="page"', page)


# --- The account ---------------------------------------------------------------------------------------------------


def test_a_person_changes_their_name(alice: Any, alice_client: Client) -> None:
    alice_client.post(ACCOUNT, {"name": "Alice Liddell"})
    alice.refresh_from_db()
    assert alice.name == "Alice Liddell"


def test_a_person_changes_their_password_and_stays_signed_in_here_alone(
    alice: Any, alice_client: Client, sign_in: Callable[..., Client]
) -> None:
    cache.clear()
    elsewhere = sign_in(alice)
    change = {"password": "change", "current": PASSWORD, "new": "an even longer horse staple"}
    assert alice_client.post(ACCOUNT, change).status_code == 302
    assert alice_client.get(HOME).status_code == 200
    assert elsewhere.get(HOME).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("an even longer horse staple")


@pytest.mark.parametrize(
    ("current", "new", "problem"),
    [("wrong", "an even longer horse staple", "current"), (PASSWORD, "12345678", "new")],
)
def test_a_wrong_or_weak_password_changes_nothing(
    alice: Any, alice_client: Client, current: str, new: str, problem: str
) -> None:
    cache.clear()
    response = alice_client.post(ACCOUNT, {"password": "change", "current": current, "new": new})
    assert response.status_code == 422
    assert f'id="id_password_{problem}_error"' in response.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


# --- What the browser is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [HOME, PLAYGROUND, ACCOUNT, reverse("console:sign-in"), "/nowhere"])
def test_pages_carry_a_strict_policy_and_keep_it(alice_client: Client, chatter: Any, url: str) -> None:
    alice_client.logout() if url == reverse("console:sign-in") else None
    response = alice_client.get(url)
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    for loose in ("unsafe-inline", "unsafe-eval", "http:", "https:", "ws:", "*"):
        assert loose not in policy
    page = response.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "no inline script"
    assert not re.search(r"\sstyle=|<style|\son\w+=", page), "no inline style, no handler attribute"
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page), "nothing from another host"


def test_every_static_file_that_pages_name_exists(alice_client: Client, chatter: Any) -> None:
    for url in (HOME, PLAYGROUND):
        for name in re.findall(r'(?:src|href)="/static/([^"#?]+)', alice_client.get(url).content.decode()):
            assert finders.find(name), name


def test_modules_and_styles_name_files_that_exist_and_no_other_host() -> None:
    for file in (ROOT / "static" / "src").iterdir():
        text = file.read_text()
        for name in re.findall(r"""from "(\./[^"]+)"|url\("?([^)"]+)"?\)""", text):
            target = next(filter(None, name))
            if not target.startswith(("#", "data:")):
                assert (file.parent / target).is_file(), f"{file.name}: {target}"
        assert not re.search(r"\.innerHTML|insertAdjacentHTML|document\.write|outerHTML|\beval\(", text), (
            file.name
        )


def test_every_icon_that_is_named_is_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="(\w+)"', (ROOT / "static/src/icons.svg").read_text()))
    named: set[str] = set()
    for file in (ROOT / "templates").rglob("*.html"):
        named |= set(re.findall(r'icon\.html" with name="(\w+)"', file.read_text()))
    for file in (ROOT / "static/src").glob("*.js"):
        named |= set(re.findall(r'icon(?:Button)?\("(\w+)"', file.read_text()))
    named |= {entry.icon for entry in extensions.entries()}
    assert named - drawn == set()


# --- What goes wrong -----------------------------------------------------------------------------------------------


def test_an_unknown_page_is_a_page(client: Client) -> None:
    response = client.get("/console/nowhere/")
    assert response.status_code == 404
    assert b"There is nothing here" in response.content


@pytest.mark.parametrize("name", ["400", "403", "404", "500", "403_csrf"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_error_pages_need_no_database_and_no_context(name: str, language: str) -> None:
    with translation.override(language):
        page = render_to_string(f"{name}.html")
    assert f'lang="{"zh-Hans" if language == "zh-hans" else "en"}"' in page
    assert "<h1>" in page


def test_an_error_page_speaks_the_persons_language(client: Client) -> None:
    client.cookies["django_language"] = "zh-hans"
    assert '<html lang="zh-Hans">' in client.get("/nowhere").content.decode()


def test_error_pages_do_not_touch_the_database(django_assert_num_queries: Any, db: None) -> None:
    request = RequestFactory().get("/nowhere")
    with django_assert_num_queries(0):
        render_to_string("404.html", {}, request)


@pytest.mark.slow
def test_in_production_modules_import_each_other_by_versioned_names(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    storage = VersionedStaticFilesStorage(location=str(tmp_path), base_url="/static/")
    sources = {
        f"src/{file.name}": (FileSystemStorage(ROOT / "static"), f"src/{file.name}")
        for file in (ROOT / "static/src").iterdir()
    }
    built = {
        f"dist/{file.name}": (FileSystemStorage(ROOT / "static"), f"dist/{file.name}")
        for file in (ROOT / "static/dist").iterdir()
    }
    for name, (source, path) in {**sources, **built}.items():
        with source.open(path) as content:
            storage._save(name, content)
    for _name, _hashed, outcome in storage.post_process({**sources, **built}):
        assert not isinstance(outcome, Exception), outcome
    playground = (tmp_path / storage.stored_name("src/playground.js")).read_text()
    imported = re.findall(r'from "\./([^"]+)"', playground)
    assert len(imported) > 4
    for name in imported:
        assert re.fullmatch(r"[\w-]+\.[0-9a-f]{12}\.js", name)
        assert (tmp_path / "src" / name).is_file()


def test_a_viewer_is_told_that_the_playground_is_not_for_them(dana_client: Client, chatter: Any) -> None:
    page = dana_client.get(PLAYGROUND).content.decode()
    assert 'id="playground"' not in page
    assert "Your role does not call models" in page
    assert "Open the playground" not in dana_client.get(HOME).content.decode()

"""The shell in the browser: languages, appearance, narrow screens, keyboards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tenants.models import Tenant
from tests.browser.conftest import Complaints, Site
from tests.browser.test_playground import MARKDOWN, answer, ask, open_playground
from tests.chat.scripted import Script
from tests.factories.tenants import MembershipFactory

Open = Callable[..., Page]
SignIn = Callable[[Page, Any], Page]


def overflow(page: Page) -> int:
    """How far the page can be pushed sideways, in pixels."""
    return page.evaluate("document.scrollingElement.scrollWidth - innerWidth")


def test_a_wrong_password_stands_beside_its_field(
    new_page: Open, alice: Any, complaints: Complaints, site: Site
) -> None:
    complaints.expected.append("422")
    page = new_page()
    page.goto("/console/sign-in/")
    page.locator("#id_username").fill(alice.email)
    page.locator("#id_password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#id_password_error")).to_be_visible()
    expect(page.locator("#id_password")).to_be_focused()
    expect(page.locator("#id_password")).to_have_attribute("aria-describedby", "id_password_error")
    expect(page.locator("#id_username")).to_have_value(alice.email)


def test_the_whole_console_changes_its_language(
    new_page: Open, sign_in_as: SignIn, alice: Any, site: Site
) -> None:
    page = new_page()
    page.goto("/console/sign-in/")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    page.get_by_role("button", name="English").click()
    sign_in_as(page, alice)
    open_playground(page)
    page.locator("summary.who").last.click()
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("#link-state")).to_contain_text("已连接")
    expect(page.locator("#question")).to_have_attribute("placeholder", "问点什么…")
    ask(page, "你好")
    expect(answer(page)).to_have_attribute("data-state", "complete")
    expect(answer(page).locator(".meta")).to_contain_text("个 token")


def test_no_english_is_left_in_the_chinese_console(
    new_page: Open, sign_in_as: SignIn, alice: Any, site: Site
) -> None:
    alice.language = "zh-hans"
    alice.save()
    page = sign_in_as(new_page(language="zh-hans"), alice)
    known = {
        "Atrium",
        "curl",
        "Python",
        "python",
        "bash",
        "English",
        "API",
        "OpenAI",
        "OpenAPI",
        "URL",
        "Bearer",
        "Acme",
        "Alice",
    }
    known |= {
        "token",
        "tokens",
        "Shift",
        "chatter",
        "ATRIUM_API_KEY",
        "CSS",
        "acme",
        "example",
        "alice",
        "GPU",
    }
    for url in ("/console/", "/console/playground/", "/console/account/"):
        page.goto(url)
        words = page.evaluate(
            """() => {
              const words = new Set();
              const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              while (walker.nextNode()) {
                if (walker.currentNode.parentElement.closest("code, script, pre")) continue;
                for (const word of walker.currentNode.data.match(/[A-Za-z_]{3,}/g) ?? []) words.add(word);
              }
              return [...words];
            }"""
        )
        assert set(words) - known == set(), url


def test_the_appearance_follows_the_machine_until_one_chooses(new_page: Open, site: Site) -> None:
    page = new_page(scheme="dark")
    page.goto("/console/sign-in/")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light", exact=True).click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    page.get_by_role("button", name="As the system").click()
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_nothing_sticks_out_on_a_phone(
    new_page: Open, sign_in_as: SignIn, alice: Any, site: Site, language: str
) -> None:
    alice.language = language
    alice.save()
    page = new_page(width=390, height=844, language=language)
    page.goto("/console/sign-in/")
    assert overflow(page) == 0
    sign_in_as(page, alice)
    assert overflow(page) == 0
    page.locator("[data-drawer]").click()
    expect(page.locator("#rail")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#rail")).to_be_hidden()
    site.gateway.script = Script(text=MARKDOWN + "\n" + "x" * 400, cuts=[50])
    open_playground(page)
    ask(page, "Show me " + "y" * 300)
    expect(answer(page)).to_have_attribute("data-state", "complete")
    assert overflow(page) == 0
    page.locator("#list-toggle").click()
    expect(page.locator(".chat-open")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#settings-toggle").click()
    expect(page.locator("#settings")).to_be_visible()
    page.locator("#settings-close").click()
    expect(page.locator("#settings")).to_be_hidden()
    assert overflow(page) == 0


def test_a_keyboard_is_enough(new_page: Open, alice: Any, site: Site) -> None:
    page = new_page()
    page.goto("/console/sign-in/")
    page.keyboard.type(alice.email)
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse battery staple")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/console/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("from openai import OpenAI")


def test_every_control_has_a_name_and_every_page_one_heading(
    new_page: Open, sign_in_as: SignIn, alice: Any, site: Site
) -> None:
    page = sign_in_as(new_page(), alice)
    for url in ("/console/", "/console/playground/", "/console/account/"):
        page.goto(url)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a, input:not([type=hidden]), select, textarea")]
              .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
              .map((e) => e.outerHTML.slice(0, 120))"""
        )
        assert nameless == [], url
        assert page.get_by_role("heading", level=1).count() == 1, url


def test_an_example_is_copied_without_its_frame(
    new_page: Open, sign_in_as: SignIn, alice: Any, site: Site
) -> None:
    page = sign_in_as(new_page(), alice)
    page.locator(".code [data-copy]").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl {site.url}/v1/chat/completions")
    assert "Copy" not in copied


def test_a_member_of_two_tenants_switches_in_the_rail(
    new_page: Open, sign_in_as: SignIn, alice: Any, globex: Tenant, site: Site
) -> None:
    MembershipFactory(tenant=globex, user=alice, role="developer")
    page = sign_in_as(new_page(), alice)
    page.locator("summary.framed").click()
    page.get_by_role("button", name="Globex").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Globex")


def test_motion_stops_for_those_who_ask(new_page: Open, site: Site) -> None:
    page = new_page()
    page.emulate_media(reduced_motion="reduce")
    page.goto("/console/sign-in/")
    duration = page.locator("button.primary").evaluate("e => getComputedStyle(e).transitionDuration")
    assert all(float(part.strip().removesuffix("s")) < 0.001 for part in duration.split(","))

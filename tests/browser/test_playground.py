"""The chat as a person uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from core.scoping import platform_scope
from tenants.models import Tenant
from tests.browser.conftest import Complaints, Site
from tests.chat.scripted import Script

MARKDOWN = """# Rooms

Each **tenant** has its *own* room, with `walls` and a [door](https://example.org/door).

- first
- second
  1. inner

> quoted

| Word | Meaning |
|---|---|
| Alias | a name |

```python
print("<b>not bold</b>")
```

<img src=x onerror="alert(1)"> <script>alert(2)</script> [bad](javascript:alert(3)) ![picture](https://evil.example/p.png)
"""

Open = Callable[..., Page]
SignIn = Callable[[Page, Any], Page]


@pytest.fixture
def playground(new_page: Open, sign_in_as: SignIn, alice: Any) -> Page:
    """Alice, signed in and connected."""
    return open_playground(sign_in_as(new_page(), alice))


def open_playground(page: Page, query: str = "") -> Page:
    page.goto(f"/console/playground/{query}")
    expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    return page


def ask(page: Page, text: str) -> None:
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")


def answer(page: Page) -> Locator:
    return page.locator(".message.assistant").last


def test_a_question_is_answered_as_a_stream(playground: Page, site: Site) -> None:
    site.gateway.script = Script(delay_s=0.03)
    ask(playground, "What is Atrium?")
    expect(playground.locator(".message.user .body")).to_have_text("What is Atrium?")
    expect(answer(playground)).to_have_attribute("data-state", "streaming")
    expect(playground.locator("#stop")).to_be_visible()
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(answer(playground).locator(".prose")).to_have_text(site.gateway.script.text)
    meta = answer(playground).locator(".meta")
    expect(meta).to_contain_text(f"{len(site.gateway.script.text)} tokens")
    expect(meta).to_contain_text("tokens/s")
    expect(meta).to_contain_text("first after")
    expect(playground.locator("#chat-title")).to_have_text("What is Atrium?")
    expect(playground.locator("#totals")).to_contain_text("Tokens written")
    assert "chat=chat_" in playground.url


def test_stop_keeps_the_text_and_continue_goes_on(playground: Page, site: Site) -> None:
    site.gateway.script = Script(hold_after=12)
    ask(playground, "Go on")
    expect(answer(playground).locator(".prose")).to_have_text(site.gateway.script.text[:12].strip())
    playground.locator("#stop").click()
    expect(answer(playground)).to_have_attribute("data-state", "stopped")
    expect(answer(playground).locator(".meta")).to_contain_text("Stopped")
    site.gateway.script = Script()
    answer(playground).get_by_role("button", name="Continue").click()
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(answer(playground).locator(".prose")).to_have_text(site.gateway.script.text)
    assert site.gateway.sent[1].resume_from is not None


def test_answering_again_replaces_the_answer(playground: Page, site: Site) -> None:
    ask(playground, "Which?")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    site.gateway.script = Script(text="Another answer.")
    answer(playground).get_by_role("button", name="Answer again").click()
    expect(answer(playground).locator(".prose")).to_have_text("Another answer.")
    expect(answer(playground).locator(".meta")).to_contain_text("Answer 2")
    expect(playground.locator(".message.assistant")).to_have_count(1)


def test_a_lost_connection_comes_back_and_the_text_is_whole(
    playground: Page, site: Site, complaints: Complaints
) -> None:
    complaints.expected.append("WebSocket")
    site.gateway.script = Script(text="One, two, three, four, five, six.", cuts=[3], hold_after=12)
    ask(playground, "Count")
    expect(answer(playground).locator(".prose")).to_have_text("One, two, th")
    site.cut()
    expect(playground.locator("#link-state")).not_to_have_attribute("data-state", "open")
    site.gateway.script = Script(text="One, two, three, four, five, six.", cuts=[5])
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(answer(playground).locator(".prose")).to_have_text("One, two, three, four, five, six.")
    expect(playground.locator(".message.assistant")).to_have_count(1)


def test_a_reloaded_page_goes_on_with_its_answer(playground: Page, site: Site) -> None:
    site.gateway.script = Script(text="One, two, three, four, five, six.", cuts=[3], hold_after=12)
    ask(playground, "Count")
    expect(answer(playground).locator(".prose")).to_have_text("One, two, th")
    site.gateway.script = Script(text="One, two, three, four, five, six.")
    playground.reload()
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(answer(playground).locator(".prose")).to_have_text("One, two, three, four, five, six.")


def test_a_question_asked_while_offline_is_sent_once_afterwards(
    playground: Page, site: Site, complaints: Complaints
) -> None:
    complaints.expected.append("WebSocket")
    ask(playground, "First")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    site.cut()
    ask(playground, "Second")
    expect(playground.locator(".message.assistant")).to_have_count(2)
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    assert [stream.body["messages"][-1]["content"] for stream in site.gateway.sent] == ["First", "Second"]


def test_several_chats_run_side_by_side(playground: Page, site: Site) -> None:
    first = site.gateway.script = Script(text="The first answer.", hold_after=4)
    ask(playground, "First chat")
    expect(answer(playground).locator(".prose")).to_have_text("The")
    playground.locator("#new-chat").click()
    site.gateway.script = Script(text="The second answer.")
    ask(playground, "Second chat")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(playground.locator(".chat-row .pulse")).to_have_count(1)
    site.on_loop(first.release.set)
    playground.get_by_role("button", name="First chat").click()
    expect(answer(playground).locator(".prose")).to_have_text("The first answer.")
    expect(playground.locator(".chat-row .pulse")).to_have_count(0)


def test_chats_are_found_renamed_and_deleted(playground: Page) -> None:
    ask(playground, "Keep this")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    playground.reload()
    row = playground.locator(".chat-row")
    expect(row).to_have_count(1)
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    row.hover()
    row.get_by_role("button", name="Rename").click()
    playground.keyboard.type("A better name")
    playground.keyboard.press("Enter")
    expect(row.locator(".chat-open")).to_have_text("A better name")
    expect(playground.locator("#chat-title")).to_have_text("A better name")
    row.hover()
    row.get_by_role("button", name="Delete").click()
    dialog = playground.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it").click()
    expect(row).to_have_count(1)
    row.hover()
    row.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    expect(playground.locator(".opening")).to_be_visible()


def test_settings_travel_with_the_question(playground: Page, site: Site) -> None:
    playground.locator("#system").fill("Be brief.")
    playground.locator("#temperature-value").fill("0.3")
    playground.locator("#max-tokens").fill("64")
    ask(playground, "Hello")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    body = site.gateway.sent[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["max_tokens"]) == (0.3, 64)


def test_what_a_model_says_is_never_html(playground: Page, site: Site) -> None:
    site.gateway.script = Script(text=MARKDOWN, cuts=[7])
    ask(playground, "Show me")
    prose = answer(playground).locator(".prose")
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    expect(prose.locator("strong")).to_have_text("tenant")
    expect(prose.locator("li")).to_have_count(3)
    expect(prose.locator("td").first).to_have_text("Alias")
    expect(prose.locator("pre code")).to_have_text('print("<b>not bold</b>")')
    expect(prose).to_contain_text('<img src=x onerror="alert(1)">')
    expect(prose).to_contain_text("[bad](javascript:alert(3))")
    assert prose.locator("img, script, iframe, b").count() == 0
    links = prose.locator("a").evaluate_all("links => links.map(l => [l.href, l.rel, l.target])")
    assert ["https://example.org/door", "noopener noreferrer nofollow", "_blank"] in links
    assert all(re.match("https?:", href) for href, _, _ in links)


def test_errors_are_readable_and_what_was_written_is_not_lost(playground: Page, site: Site) -> None:
    site.gateway.script = Script(fail_after=16)
    ask(playground, "Try")
    expect(answer(playground)).to_have_attribute("data-state", "failed")
    expect(answer(playground).locator(".note")).to_contain_text("The engine that wrote this answer was lost")
    expect(answer(playground).locator(".note")).to_contain_text(site.gateway.sent[0].request_id)
    site.gateway.script = Script()
    answer(playground).get_by_role("button", name="Continue").click()
    expect(answer(playground).locator(".prose")).to_have_text(site.gateway.script.text)


def test_a_suspended_tenant_is_shown_the_door(playground: Page, acme: Tenant) -> None:
    with platform_scope(reason="tests"):
        Tenant.objects.filter(pk=acme.pk).update(status="suspended")
    expect(playground.locator("#banner")).to_contain_text("This tenant is suspended", timeout=3000)
    expect(playground.locator("#link-state")).to_have_attribute("data-state", "refused")


def test_shift_enter_and_input_methods_do_not_send(playground: Page, site: Site) -> None:
    question = playground.locator("#question")
    question.fill("line one")
    playground.keyboard.press("Shift+Enter")
    playground.keyboard.type("line two")
    question.evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    assert site.gateway.sent == []
    playground.keyboard.press("Enter")
    expect(playground.locator(".message.user .body")).to_have_text("line one\nline two")


def test_a_reader_who_looks_back_is_left_in_peace(playground: Page, site: Site) -> None:
    site.gateway.script = Script(text="An answer that fills a line or two. " * 200, cuts=[40], delay_s=0.02)
    ask(playground, "Tell me a long story")
    stage = playground.locator("#stage")
    # The policy forbids eval, so Playwright's own waiting for a function does too.
    while stage.evaluate("stage => stage.scrollHeight - stage.clientHeight") < 400:
        playground.wait_for_timeout(50)
    stage.hover()
    playground.mouse.wheel(0, -120)
    expect(playground.locator("#latest")).to_be_visible()
    before = stage.evaluate("stage => stage.scrollTop")
    playground.wait_for_timeout(600)
    assert stage.evaluate("stage => stage.scrollTop") <= before
    playground.locator("#latest").click()
    expect(playground.locator("#latest")).to_be_hidden()
    expect(answer(playground)).to_have_attribute("data-state", "complete", timeout=20_000)
    assert stage.evaluate("stage => stage.scrollHeight - stage.scrollTop - stage.clientHeight") < 48


def test_ones_own_question_is_always_in_sight(playground: Page, site: Site) -> None:
    site.gateway.script = Script(text="An answer that fills a line or two. " * 12, cuts=[200])
    for number in range(4):
        ask(playground, f"Question {number}")
        expect(playground.locator('.message.assistant[data-state="complete"]')).to_have_count(number + 1)
    stage = playground.locator("#stage")
    stage.evaluate("stage => { stage.scrollTop = 0; }")
    expect(playground.locator("#latest")).to_be_visible()
    site.gateway.script.delay_s = 0.05
    site.gateway.script.cuts = [40]
    ask(playground, "Question 4")
    expect(playground.locator("#latest")).to_be_hidden()
    expect(answer(playground)).to_have_attribute("data-state", "complete")
    distance = stage.evaluate("stage => stage.scrollHeight - stage.scrollTop - stage.clientHeight")
    assert distance < 48

"""A site on a loopback port, and a browser that complains about everything a person should never see."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import CookieMiddleware
from django.core.asgi import get_asgi_application
from django.core.cache import cache
from django.urls import path
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from inference.chat import partials
from inference.chat.consumers import ChatConsumer
from inference.chat.origins import OwnPagesOnly
from tests.chat.scripted import ScriptedGateway
from tests.factories.accounts import PASSWORD
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

ROOT = Path(__file__).resolve().parents[2]
MODEL = "chatter"


def find_chromium() -> str | None:
    """What scripts/chromium.py finds, without installing anything."""
    spec = importlib.util.spec_from_file_location("chromium", ROOT / "scripts" / "chromium.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: str | None = module.find()
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs Chromium."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser per module. It ends with the module, and with it the event loop that Playwright keeps running."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium: run scripts/chromium.py")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


class Site:
    """The server in a thread of its own. `gateway.script` is what the engine says next."""

    def __init__(self) -> None:
        self.gateway = ScriptedGateway()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        consumer = ChatConsumer.as_asgi(gateway_of_loop=lambda: self.gateway)
        self._application = ProtocolTypeRouter(
            {
                "http": get_asgi_application(),
                "websocket": OwnPagesOnly(CookieMiddleware(URLRouter([path("ws/chat/", consumer)]))),
            }
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Serve; returns when the port answers."""
        config = uvicorn.Config(
            self._serve,
            host="127.0.0.1",
            port=self.port,
            ws="websockets-sansio",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="site")
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop serving and let go of what the loop was connected to."""
        self.on_loop(self.gateway.script.release.set)
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._server.should_exit = True
        self._thread.join(15)

    def on_loop(self, call: Callable[[], Any]) -> None:
        """Run something on the server's loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def cut(self) -> None:
        """Break every connection, as a lost network does."""
        self.on_loop(lambda: [c.transport.abort() for c in list(self._server.server_state.connections)])

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        await self._application(scope, receive, send)

    async def _close(self) -> None:
        async with asyncio.timeout(10):
            while self._server.server_state.tasks:
                await asyncio.sleep(0.02)
        store = partials._stores.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store._client.aclose()


@pytest.fixture
def site(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with one model that everybody may chat with."""
    # Playwright keeps a loop running in this thread; the fixtures' database calls here block nobody.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    cache.clear()
    model = ModelFactory(tenant=None, name=MODEL, visibility="public", task="chat")
    DeploymentFactory(version=ModelVersionFactory(model=model, tenant=None), tenant=None)
    site = Site()
    site.start()
    yield site
    site.stop()


@dataclass
class Complaints:
    """What went wrong in a browser, other than what the test expects. `expected` are parts of such lines."""

    site: Site
    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to one page."""
        page.on("console", lambda m: self._note(m.type in ("error", "warning"), f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self._note(True, f"exception: {error}"))
        page.on(
            "request", lambda request: self._note(self._is_foreign(request.url), f"foreign: {request.url}")
        )
        page.on("response", lambda r: self._note(r.status >= 400, f"{r.status}: {r.url}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error('policy violated: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )

    def _is_foreign(self, url: str) -> bool:
        ours = (self.site.url, f"ws://127.0.0.1:{self.site.port}", "data:", "blob:")
        return not url.startswith(ours)

    def _note(self, is_bad: bool, line: str) -> None:
        if is_bad and not any(part in line for part in self.expected):
            self.lines.append(line)


@pytest.fixture
def complaints(site: Site) -> Iterator[Complaints]:
    """Fails the test when the browser had something to complain about."""
    complaints = Complaints(site)
    yield complaints
    assert complaints.lines == []


@pytest.fixture
def new_page(chromium: Browser, site: Site, complaints: Complaints) -> Iterator[Callable[..., Page]]:
    """Open a browser window: `new_page(width=390, language="zh-hans", scheme="dark")`."""
    contexts: list[BrowserContext] = []

    def make(*, width: int = 1440, height: int = 900, language: str = "en", scheme: Any = "light") -> Page:
        context = chromium.new_context(
            base_url=site.url,
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale="en-US",
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(10_000)
        context.add_cookies([{"name": "django_language", "value": language, "url": site.url}])
        contexts.append(context)
        page = context.new_page()
        complaints.watch(page)
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def sign_in_as(site: Site) -> Callable[[Page, Any], Page]:
    """Sign in by the form."""

    def enter(page: Page, user: Any) -> Page:
        page.goto("/console/sign-in/")
        page.locator("#id_username").fill(user.email)
        page.locator("#id_password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.url}/console/")
        return page

    return enter

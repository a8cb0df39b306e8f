"""What the tests of money do to a running platform: register a simulated model, sell it, and send many requests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.stack.platform_process import Platform

NANO = 1_000_000_000
# A price with all nine places, so that nothing adds up by rounding.
CALL_NANO = 12_345_679


class Office:
    """The operator's desk: REST as a person who has signed in."""

    def __init__(self, platform: Platform) -> None:
        self.http = platform.operator()

    def post(self, path: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
        """Write something; fails the test unless it is taken."""
        headers = {"X-CSRFToken": self.http.cookies["csrftoken"], "Referer": str(self.http.base_url)}
        answer = self.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.is_success, (path, answer.status_code, answer.text[:1000])
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def get(self, path: str, **params: str) -> Any:
        """Read something."""
        return self.http.get(f"/api/v1{path}", params=params).raise_for_status().json()

    def deploy(self, name: str, **arguments: Any) -> None:
        """A simulated model that every tenant may call."""
        self.post("/models/", {"name": name, "source": "simulated", "visibility": "public"})
        (model,) = [m for m in self.get("/models/")["results"] if m["name"] == name]
        (version,) = self.get("/versions/", model=model["id"])["results"]
        self.post(f"/versions/{version['id']}/set-state/", {"state": "online"})
        self.post(
            "/deployments/", {"version": version["id"], "engine": "simulated", "engine_args": arguments}
        )

    def sell(self, slug: str, tenants: list[str], **price: str) -> None:
        """From now on these tenants (by id) pay this price, in USD."""
        plan = self.post("/price-plans/", {"slug": slug, "name": slug, "currency": "USD"})
        self.post(f"/price-plans/{plan['id']}/publish/", {"prices": [{"model": "*", **price}]})
        for tenant in tenants:
            self.post("/price-subscriptions/", {"tenant": tenant, "plan": plan["id"]})

    def fund(self, tenant: str, nano: int) -> None:
        """Money in the wallet."""
        amount = f"{nano // NANO}.{nano % NANO:09d}"
        self.post(
            "/wallet/grant-credit/",
            {"tenant": tenant, "amount": amount, "currency": "USD", "reason": "a test"},
        )


@dataclass
class Outcomes:
    """What a client saw of its requests."""

    admitted: list[str] = field(default_factory=list)  # ids of requests that were answered with 200
    finished: int = 0
    refused: int = 0  # 429 insufficient_quota
    others: list[str] = field(default_factory=list)  # every other answer
    broken: int = 0  # no answer at all, or one that was cut


async def _ask(
    http: httpx.AsyncClient, body: dict[str, Any], seen: Outcomes, leave_after_s: float | None
) -> None:
    request = http.build_request("POST", "/v1/chat/completions", json=body)
    try:
        async with asyncio.timeout(leave_after_s):
            answer = await http.send(request, stream=True)
            try:
                if answer.status_code == 200:
                    seen.admitted.append(answer.headers["x-request-id"])
                text = (await answer.aread()).decode()
            finally:
                await answer.aclose()
    except (httpx.HTTPError, TimeoutError):
        seen.broken += 1
        return
    if answer.status_code == 200:
        seen.finished += 1
        return
    code = json.loads(text)["error"]["code"] if text.startswith("{") else text[:100]
    if (answer.status_code, code) == (429, "insufficient_quota"):
        seen.refused += 1
    else:
        seen.others.append(f"{answer.status_code} {code}")


def body(model: str, **extra: Any) -> dict[str, Any]:
    """A small chat."""
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, **extra}


def flood(
    platform: Platform,
    slug: str,
    count: int,
    model: str,
    *,
    beside: Callable[[Outcomes], Awaitable[None]] | None = None,
    over_s: float = 0.0,
    leaving: float = 0.0,
    seed: int = 0,
) -> Outcomes:
    """Send `count` requests, all at once or spread `over_s` seconds; a part `leaving` goes away in the middle.

    `beside` runs meanwhile: the one who kills.
    """
    dice = random.Random(seed)
    seen = Outcomes()

    async def one(http: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(over_s * number / count)
        leave = dice.uniform(0.05, 1.0) if dice.random() < leaving else None
        await _ask(http, body(model, stream=bool(number % 2)), seen, leave)

    async def run() -> None:
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=0 if over_s else count)
        headers = {"Authorization": f"Bearer {platform.key(slug)}"}
        async with httpx.AsyncClient(
            base_url=platform.base_url, headers=headers, timeout=90, limits=limits
        ) as http:
            killing = asyncio.ensure_future(beside(seen)) if beside else None
            await asyncio.gather(*(one(http, number) for number in range(count)))
            if killing is not None:
                await killing

    asyncio.run(run())
    return seen


async def kill(platform: Platform, name: str, timeout_s: float = 20.0) -> None:
    """SIGKILL for one child, and wait until the supervisor has another."""
    old = platform.kill(name)
    for _ in range(int(timeout_s * 10)):
        await asyncio.sleep(0.1)
        try:
            if platform.pid(name) != old:
                return
        except (StopIteration, OSError, json.JSONDecodeError):
            continue
    raise AssertionError(f"{name} was not started again within {timeout_s} s")

"""A small platform inside one event loop: real uvicorn, real gateway, a real replica on the simulated engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from access.secrets import new_secret
from config.asgi import application
from config.server import BoundedHttpProtocol, listen
from core.valkey import async_client
from inference.gateway import gateway
from inference.queue.keys import USAGE
from inference.queue.wire import decode_usage
from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.port import Engine
from inference.worker.replica import Replica
from models_registry.models import Deployment
from tenants.models import Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory
from tests.factories.tenants import TenantFactory
from tests.waiting import until

MODEL = "sim"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Served:
    """Two tenants with a key each, and a public model that both may call. Rows are committed."""

    acme: Tenant
    globex: Tenant
    deployment: Deployment
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls) -> Served:
        acme, globex = TenantFactory(slug="acme", name="Acme"), TenantFactory(slug="globex", name="Globex")
        model = ModelFactory(tenant=None, name=MODEL, visibility="public", task="chat")
        version = ModelVersionFactory(tenant=None, model=model)
        served = cls(acme, globex, DeploymentFactory(tenant=None, version=version, name=MODEL))
        for tenant in (acme, globex):
            served.secrets[tenant.slug] = new_secret()
            served.keys[tenant.slug] = APIKeyFactory(tenant=tenant, secret=served.secrets[tenant.slug])
        return served


class Edge:
    """The running server; replicas are started and lost by the tests."""

    def __init__(self, served: Served, base_url: str) -> None:
        self.served = served
        self.base_url = base_url
        self.valkey = async_client()
        self._replicas: dict[str, tuple[Replica, asyncio.Task[None]]] = {}

    def http(self, slug: str = "acme", **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.served.secrets[slug]}"} if slug else {}
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, timeout=30, **options)

    async def start_replica(self, name: str, engine: Engine | None = None, **arguments: Any) -> Replica:
        engine = engine or SimulatedEngine({"tokens": 64, **arguments})
        replica = Replica(
            replica_id=name, node="test", deployment_id=str(self.served.deployment.pk), engine=engine
        )
        self._replicas[name] = (replica, asyncio.create_task(replica.run()))
        await until(lambda: replica.state == "ready")
        return replica

    async def lose_replica(self, name: str) -> None:
        """As SIGKILL does it: no goodbye, nothing is sent or accounted for any more."""
        replica, task = self._replicas.pop(name)
        for job in replica._jobs.values():
            job.dropped = True
        replica._outbox._send = _nowhere  # type: ignore[method-assign]
        for other in asyncio.all_tasks():
            code = getattr(other.get_coro(), "cr_frame", None)
            if code is not None and code.f_locals.get("self") is replica and other is not task:
                other.cancel()
        # What a killed process leaves behind: its heartbeat, growing old.
        beats = await self.valkey.hgetall(replica._keys.replicas)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if old := beats.get(name.encode()):
            stale = {**json.loads(old), "at_ms": json.loads(old)["at_ms"] - 60_000}
            await self.valkey.hset(replica._keys.replicas, name, json.dumps(stale))

    async def usage(self, request_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The usage record of a request, as soon as it is written."""
        for _ in range(int(timeout_s * 50)):
            for _, fields in await self.valkey.xrevrange(USAGE, count=200):
                record = decode_usage(fields[b"r"])
                if record["request_id"] == request_id:
                    return record
            await asyncio.sleep(0.02)
        raise AssertionError(f"no usage record of {request_id}")

    async def close(self) -> None:
        for replica, task in self._replicas.values():
            replica.stop()
            await asyncio.wait([task], timeout=10)
        await self.valkey.aclose()


async def _nowhere(boxes: Any, notes: Any) -> None:
    """A dead process sends nothing."""


@contextlib.asynccontextmanager
async def edge_for(served: Served) -> AsyncIterator[Edge]:
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(
            application, http=BoundedHttpProtocol, lifespan="off", log_config=None, access_log=False
        )
    )
    # What `serve` does, without its loop and its pauses of a tenth of a second each.
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[sock])
    edge = Edge(served, f"http://127.0.0.1:{sock.getsockname()[1]}")
    try:
        yield edge
    finally:
        await edge.close()
        for each in server.servers:
            each.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # a failed test may have left a stream open
        left = set(server.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=15)
        sock.close()
        await gateway().close()


def events(text: str) -> list[Any]:
    """The data of each server-sent event; `[DONE]` as a string."""
    found: list[Any] = []
    for line in text.split("\n\n"):
        if line.startswith("data: "):
            found.append(line[6:] if line[6:] == "[DONE]" else json.loads(line[6:]))
    return found


def text_of(chunks: list[Any]) -> str:
    """What a stream says on its first choice."""
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        if isinstance(chunk, dict)
        for choice in chunk.get("choices", [])
        if choice["index"] == 0
    )

"""Waits until everything serves, and tells people and programs so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from launcher.errors import StartError
from launcher.home import Home, read_json, write_private
from launcher.http import request
from launcher.progress import Progress, _
from launcher.supervisor import Supervisor

# The first answer of an engine on a loaded machine may take its time; beyond this something is broken.
READY_WITHIN_S = 180.0
POLL_S = 0.2
# A child that died so often before it ever served will not come up.
HOPELESS_DEATHS = 4


class Readiness:
    """The platform's own view of whether it serves; writes and removes ready.json."""

    def __init__(self, home: Home, host: str, port: int, supervisor: Supervisor, progress: Progress) -> None:
        self.home = home
        self.host = host
        self.port = port
        self.supervisor = supervisor
        self.progress = progress
        self.announced = False

    @property
    def base_url(self) -> str:
        """Where the console and the API are, as seen from this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def wait(self, *, with_models: bool) -> None:
        """Return when /readyz answers and every model has answered one real request; bounded.

        Raises StartError when a child keeps dying or the time is up, naming who and which log.
        """
        waiting: dict[str, Callable[[], Any]] = {"web": lambda: self._get("/readyz")}
        await self._until(waiting)
        self.progress.line(_("web answers at {url}").format(url=self.base_url))
        if with_models:
            prepared = self._prepared()
            tenants = prepared.get("tenants") or []
            key = tenants[0]["api_key"] if tenants else ""
            models = prepared.get("models") or []
            names = ", ".join(model["name"] for model in models)
            self.progress.line(_("loading models: {names}").format(names=names))
            await asyncio.gather(*(self._model_answers(model, key) for model in models))

    def announce(self) -> None:
        """Write ready.json and print the summary."""
        self.announced = True
        self.write()
        prepared = self._prepared()
        tenants = prepared.get("tenants") or []
        lines = ["", _("Atrium is ready: {url}/console/").format(url=self.base_url), ""]
        key_label, models_label = _("API key"), _("Models")
        for tenant in tenants:
            lines.append(f"  {tenant['slug']}")
            lines.append(f"    {key_label}: {tenant['api_key']}")
            for user in tenant.get("users", []):
                lines.append(f"    {user['email']} / {user['password']}  ({user['role']})")
        for person in prepared.get("staff") or []:
            lines.append(f"  {person['email']} / {person['password']}  ({person['role']})")
        models = ", ".join(model["name"] for model in prepared.get("models") or [])
        if models:
            lines += ["", f"  {models_label}: {models}"]
        if tenants and models:
            message = {"role": "user", "content": _("What is Atrium?")}
            body = json.dumps(
                {"model": prepared["models"][0]["name"], "messages": [message]}, ensure_ascii=False
            )
            lines += [
                "",
                f"  curl {self.base_url}/v1/chat/completions -H 'Authorization: Bearer {tenants[0]['api_key']}' \\",
                "    -H 'Content-Type: application/json' \\",
                f"    -d '{body}'",
            ]
        lines += ["", "  " + _("Logs: {path}. Ctrl-C stops everything.").format(path=self.home.logs), ""]
        self.progress.block(lines)

    def write(self) -> None:
        """Bring ready.json to the present process ids; does nothing before `announce` and after `withdraw`."""
        if not self.announced:
            return
        prepared = self._prepared()
        content = {
            "base_url": self.base_url,
            "tenants": prepared.get("tenants") or [],
            "models": [model["name"] for model in prepared.get("models") or []],
            "processes": [{"name": name, "pid": pid} for name, pid in self.supervisor.pids().items()],
        }
        write_private(self.home.ready, json.dumps(content, indent=1, ensure_ascii=False))

    def withdraw(self) -> None:
        """Say that it no longer serves."""
        self.announced = False
        self.home.ready.unlink(missing_ok=True)

    def _prepared(self) -> dict[str, Any]:
        return read_json(self.home.prepared) or {}

    async def _get(self, path: str) -> bool:
        return await request(self.host_to_ask, self.port, path, timeout_s=2) == 200

    @property
    def host_to_ask(self) -> str:
        """The address that this process itself connects to."""
        return "127.0.0.1" if self.host in {"0.0.0.0", ""} else self.host  # noqa: S104

    async def _model_answers(self, model: dict[str, str], key: str) -> None:
        name, task = model["name"], model.get("task", "chat")
        path, body = _smallest_request(name, task)

        async def ask() -> bool:
            return await request(self.host_to_ask, self.port, path, body=body, key=key, timeout_s=60) == 200

        await self._until({name: ask})
        self.progress.line(_("model {name} answers").format(name=name))

    async def _until(self, waiting: dict[str, Callable[[], Any]]) -> None:
        while waiting:
            for name, ask in list(waiting.items()):
                if await ask():
                    del waiting[name]
            self._give_up_if_hopeless(list(waiting))
            if waiting:
                await asyncio.sleep(POLL_S)

    def _give_up_if_hopeless(self, waiting: list[str]) -> None:
        for name, child in self.supervisor.children.items():
            if child.young_deaths >= HOPELESS_DEATHS:
                sentence = _("{name} does not start ({reason}): see {log}.")
                reason = self.supervisor.log_tail(name) or str(child.last_status)
                raise StartError(
                    sentence.format(name=name, reason=reason, log=self.supervisor.log_path(name))
                )
        if waiting and self.progress.elapsed() > READY_WITHIN_S:
            sentence = _("{name} does not answer after {seconds:.0f} s: see the logs in {path}.")
            text = sentence.format(
                name=", ".join(waiting), seconds=self.progress.elapsed(), path=self.home.logs
            )
            raise StartError(text)


def _smallest_request(model: str, task: str) -> tuple[str, dict[str, Any]]:
    """The path and body of the cheapest request that proves that a model of this task serves."""
    if task == "embedding":
        return "/v1/embeddings", {"model": model, "input": "ready?"}
    if task == "completion":
        return "/v1/completions", {"model": model, "prompt": "ready?", "max_tokens": 1}
    messages = [{"role": "user", "content": "ready?"}]
    return "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 1}

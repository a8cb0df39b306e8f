"""Starts the platform as `make run` does, and looks at it from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai

ROOT = Path(__file__).resolve().parents[2]
START_S = 240.0


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Platform:
    """One running platform in a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.port = free_port()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATABASE_", "REDIS_", "ATRIUM_", "DJANGO_", "SECRET_", "PYTEST_"))
        }
        self.environment = {
            **inherited,
            "ATRIUM_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
            "ATRIUM_NODE": "test-node",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[openai.OpenAI] = []

    def start(self) -> None:
        """Start everything and wait until it serves."""
        with (self.home.parent / f"{self.home.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "launcher", "up"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while not (self.home / "ready.json").exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the platform ended at start:\n{self.output()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the platform is not ready after {START_S} s:\n{self.output()}")
            time.sleep(0.1)

    def stop(self) -> int:
        """Stop it as Ctrl-C does, and hang up; its exit status."""
        while self._clients:
            self._clients.pop().close()
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def output(self) -> str:
        """What it printed, and the ends of its children's logs."""
        texts = [(self.home.parent / f"{self.home.name}.log").read_text(errors="replace")]
        for file in sorted((self.home / "logs").glob("*.log")):
            texts.append(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}")
        return "\n".join(texts)

    @property
    def ready(self) -> dict[str, Any]:
        """The machine-readable summary, as it is now."""
        found: dict[str, Any] = json.loads((self.home / "ready.json").read_text())
        return found

    @property
    def base_url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def key(self, slug: str) -> str:
        """A tenant's API key."""
        return next(str(t["api_key"]) for t in self.ready["tenants"] if t["slug"] == slug)

    def client(self, slug: str, *, path: str = "", **options: Any) -> openai.OpenAI:
        """The official client with a tenant's key; `path` for the tenant's own."""
        client = openai.OpenAI(base_url=f"{self.base_url}{path}/v1", api_key=self.key(slug), **options)
        self._clients.append(client)
        return client

    def http(self, slug: str, **options: Any) -> httpx.Client:
        """A plain HTTP client with a tenant's key."""
        return httpx.Client(
            base_url=self.base_url, headers={"Authorization": f"Bearer {self.key(slug)}"}, **options
        )

    def operator(self) -> httpx.Client:
        """A browser in which the platform's operator has signed in."""
        staff = json.loads((self.home / "demo.json").read_text())["staff"]
        operator = next(person for person in staff if person["role"] == "operator")
        http = httpx.Client(base_url=self.base_url, follow_redirects=True, timeout=30)
        form = http.get("/console/sign-in/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token is not None, form[:500]
        answer = http.post(
            "/console/sign-in/",
            data={
                "username": operator["email"],
                "password": operator["password"],
                "csrfmiddlewaretoken": token.group(1),
            },
            headers={"Referer": self.base_url},
        )
        answer.raise_for_status()
        return http

    def books(self) -> dict[str, Any]:
        """Ledger, usage records, drafts and holds, read past the API: see tests.stack.books."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.stack.books"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return found

    def pid(self, name: str) -> int:
        """The process id of one child, by the name that ready.json gives it."""
        return next(int(p["pid"]) for p in self.ready["processes"] if p["name"].startswith(name))

    def kill(self, name: str) -> int:
        """SIGKILL for one child; its old process id."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for(self, check: Any, timeout_s: float, what: str) -> Any:
        """Ask `check` until it gives something true. Fails the test when that takes too long."""
        deadline = time.monotonic() + timeout_s
        last: Any = None
        while time.monotonic() < deadline:
            try:
                last = check()
                if last:
                    return last
            except Exception as error:  # what is being waited for may not answer at all yet
                last = error
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {timeout_s} s (last: {last!r})")

    def usage(self, slug: str, **filters: str) -> list[dict[str, Any]]:
        """A tenant's usage records through the REST API, all pages."""
        records: list[dict[str, Any]] = []
        with self.http(slug, timeout=30) as http:
            url: str | None = "/api/v1/usage/"
            params: dict[str, str] | None = filters
            while url:
                answer = http.get(url, params=params)
                answer.raise_for_status()
                records += answer.json()["results"]
                url, params = answer.json()["next"], None
        return records

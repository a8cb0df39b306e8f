"""What the platform adds to a request: sequential latency, streams at once, and requests at once.

Runs against a platform that is up (`make run`) with the simulated engine at zero delay, everything on: keys, policies,
queue, usage records. `python benchmarks/overhead.py`, or `make bench`. Prints one line per figure; compare figures of
one run only: machines differ by more than code does.

The simulated engine answers at once, so all the time between sending and the answer is the platform's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = "bench-simulated"
MESSAGES = [{"role": "user", "content": "hello"}]


class Connection:
    """One kept-alive connection; as little client as possible, so that the client is not what is measured."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._address = (host, port)
        self._head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Length: "
        ).encode()

    async def open(self) -> Connection:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def post(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Status, body, and seconds to the first byte of the answer."""
        data = json.dumps(body).encode()
        began = time.perf_counter()
        self._writer.write(self._head + str(len(data)).encode() + b"\r\n\r\n" + data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first = time.perf_counter() - began
        status = int(head[9:12])
        length = re.search(rb"content-length: (\d+)", head)
        if length:
            return status, await self._reader.readexactly(int(length.group(1))), first
        pieces = []
        while size := int(await self._reader.readline(), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readline()
        return status, b"".join(pieces), first

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def register(home: Path) -> None:
    """The simulated model, once."""
    done = subprocess.run(
        [sys.executable, "manage.py", "register_model", "simulated", "--name", MODEL, "--engine-arg", "tokens=64"],
        cwd=ROOT, env={**os.environ, "ATRIUM_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)


async def wait_until_served(connection: Connection) -> None:
    """Until a replica of the simulated engine answers."""
    for _ in range(60):
        status, _body, _first = await connection.post({"model": MODEL, "messages": MESSAGES, "max_tokens": 1})
        if status == 200:
            return
        await asyncio.sleep(0.5)
    raise SystemExit("the simulated model does not answer")


async def measure(host: str, port: int, key: str, rounds: int) -> None:
    """All figures, one after the other."""
    connection = await Connection(host, port, key).open()
    await wait_until_served(connection)
    one = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1}
    for _ in range(100):
        await connection.post(one)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await connection.post(one)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    print(
        f"sequential, {rounds} requests: median {statistics.median(times):.2f} ms,"
        f" p95 {times[int(rounds * 0.95)]:.2f} ms, p99 {times[int(rounds * 0.99)]:.2f} ms"
    )
    connection.close()

    stream = {"model": MODEL, "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}

    async def streamed() -> tuple[int, float]:
        mine = await Connection(host, port, key).open()
        _, body, first = await mine.post(stream)
        mine.close()
        return body.count(b'"content":') - 1, first  # the first chunk carries the role and no token

    began = time.perf_counter()
    streams = await asyncio.gather(*(streamed() for _ in range(64)))
    seconds = time.perf_counter() - began
    lost = sum(64 - tokens for tokens, _ in streams)
    firsts = sorted(first * 1000 for _, first in streams)
    print(
        f"64 streams of 64 tokens at once: {64 * 64 / seconds:,.0f} tokens/s, lost {lost},"
        f" first byte p50 {firsts[32]:.0f} ms, p99 {firsts[-1]:.0f} ms"
    )

    async def busy(requests: int) -> None:
        mine = await Connection(host, port, key).open()
        for _ in range(requests):
            await mine.post(one)
        mine.close()

    for clients in (32, 128):
        each = max(1, 2_560 // clients)
        began = time.perf_counter()
        await asyncio.gather(*(busy(each) for _ in range(clients)))
        print(f"{clients} clients: {clients * each / (time.perf_counter() - began):,.0f} requests/s")


def main() -> None:
    """Read where the platform is, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ATRIUM_HOME", ROOT / ".atrium")))
    parser.add_argument("--rounds", type=int, default=1_000)
    options = parser.parse_args()
    ready = json.loads((options.home / "ready.json").read_text())
    host, port = re.match(r"http://([^:/]+):(\d+)", ready["base_url"]).groups()  # type: ignore[union-attr]
    register(options.home)
    asyncio.run(measure(host, int(port), ready["tenants"][0]["api_key"], options.rounds))


if __name__ == "__main__":
    main()

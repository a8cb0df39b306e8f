"""What admission costs with all limits on, against a Valkey of its own: the script alone, and all of `admit`.

Run from the repository's root: `PYTHONPATH=platform:. python -m benchmarks.admission [--seconds 3]`. Prints one JSON
object; times are microseconds. PostgreSQL is not touched. The script's own time is Valkey's (`INFO commandstats`); its
best is the fastest of many batches of 100 in one pipeline, which is the least disturbed by whatever else the machine
does. On a machine that others use look at that, at CPU times, and at admission against a PING.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from launcher.services import Services

KINDS = [
    ("requests_per_second", 10**9), ("requests_per_minute", 10**9), ("requests_per_day", 10**9),
    ("tokens_per_minute", 10**12), ("tokens_per_day", 10**12), ("concurrent_requests", 10**6),
    ("monthly_calls", 10**12), ("monthly_tokens", 10**12), ("monthly_gpu_seconds", 10**9),
    ("monthly_money_nano", 9 * 10**15),
]  # fmt: skip


class Price:
    """Any."""

    id = "price"


class Terms:
    """Charged."""

    charged = True
    currency = "CNY"
    prices = {"*": Price()}


def main() -> None:
    """Start Valkey, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = min(60.0, parser.parse_args().seconds)
    with tempfile.TemporaryDirectory(prefix="atrium-bench-") as folder:
        services = Services(Path(folder) / "home")
        services.start(postgres=False)
        try:
            os.environ.update(REDIS_URL=services.redis_url, DJANGO_SETTINGS_MODULE="config.settings.local")
            os.environ.setdefault("SECRET_KEY", "benchmark")
            import django

            django.setup()
            print(json.dumps(asyncio.run(measure(seconds)), indent=2))
        finally:
            services.stop()


async def measure(seconds: float) -> dict[str, Any]:  # noqa: C901 - one measurement after the other
    """Sequential and with 32 at once: no limits, all limits at all four reaches."""
    from core.valkey import async_client
    from inference.admission import port
    from inference.admission.bounds import Bounds
    from inference.admission.client import Admission, Asking, arguments
    from inference.admission.keys import TenantKeys
    from inference.admission.loader import AsyncScripts
    from inference.admission.rules import Policy, record_of
    from models_registry.selectors import Route

    port.treasury().worst_case_nano = lambda price, **bounds: 1_000  # type: ignore[attr-defined,method-assign]
    client = async_client()
    scripts = AsyncScripts(client)
    admission = Admission(client, scripts)
    model, key = uuid4(), uuid4()
    route = Route("m", model, uuid4(), uuid4(), "chat", 4096, "simulated", 0, "atrium", model_name="m")
    reaches = [(False, None), (True, None), (False, model), (True, model)]
    everything = Policy(
        key=key.hex,
        keys=(key,),
        limits=tuple((kind, value, *reach) for kind, value in KINDS for reach in reaches),
        terms=Terms(),
    )
    plain = Policy(key=key.hex, keys=(key,))

    async def one(policy: Policy, tenant: Any) -> float:
        began = time.perf_counter()
        admitted = await admission.admit(
            Asking(f"req_{uuid4().hex}", tenant, policy, route, {"m": route}, Bounds(100, 400))
        )
        spent = time.perf_counter() - began
        admission.ended(admitted)
        await scripts.call(
            "release", TenantKeys(str(tenant)), [[admitted.request_id, admitted.epoch, 500, 300, 1000, 0]]
        )
        return spent * 1e6

    async def prepared(policy: Policy) -> Any:
        tenant = uuid4()
        keys = TenantKeys(str(tenant))
        await scripts.confirm()
        month = time.strftime("%Y%m", time.gmtime())
        for scope in policy.checks(model).scopes:
            await scripts.call("seed", keys, [month, scope, "b", 45_000, []])
            await scripts.call("seeded", keys, [month, scope, "b", 0, 0, 0, 0])
        await scripts.call("credit", keys, [uuid4().hex, scripts.epoch, 8 * 10**15, Terms.currency])
        return tenant

    async def fastest(client: Any, scripts: AsyncScripts, policy: Policy, tenant: Any) -> float:
        keys, batches = TenantKeys(str(tenant)), []
        for _ in range(20):
            ids = [f"req_{uuid4().hex}" for _ in range(100)]
            calls = [("admit", keys, arguments_of(policy, tenant, request_id)) for request_id in ids]
            await client.config_resetstat()
            await scripts.calls(calls)
            batches.append(float((await client.info("commandstats"))["cmdstat_evalsha"]["usec_per_call"]))
            await scripts.call("release", keys, [[request_id, "", 0, 0, 0, 1] for request_id in ids])
        return min(batches)

    def arguments_of(policy: Policy, tenant: Any, request_id: str) -> list[Any]:
        checks = policy.checks(model)
        record = record_of(checks, hold_nano=1_000, tokens=500, deployment=str(route.deployment_id))
        asking = Asking(request_id, tenant, policy, route, {"m": route}, Bounds(100, 400))
        return arguments(asking, checks, 1_000, record)

    found: dict[str, Any] = {}
    for name, policy in (("no limits", plain), ("all 40 limits, money held", everything)):
        tenant = await prepared(policy)
        for at_once in (1, 32):
            for _ in range(50):
                await one(policy, tenant)
            await client.config_resetstat()
            times: list[float] = []
            pings: list[float] = []
            for _ in range(200):
                asked = time.perf_counter()
                await client.ping()
                pings.append((time.perf_counter() - asked) * 1e6)
            before = await client.info("cpu")
            cpu, began = time.process_time(), time.perf_counter()

            async def worker(
                times: list[float] = times, policy: Policy = policy, tenant: Any = tenant
            ) -> None:
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    times.append(await one(policy, tenant))

            await asyncio.gather(*(worker() for _ in range(at_once)))
            spent, cpu = time.perf_counter() - began, time.process_time() - cpu
            after = await client.info("cpu")
            valkey = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
            stats = (await client.info("commandstats"))["cmdstat_evalsha"]
            times.sort()
            best = await fastest(client, scripts, policy, tenant)
            found[f"{name}, {at_once} at once"] = {
                "admissions": len(times),
                "admit_p50_us": round(statistics.median(times)),
                "ping_p50_us": round(statistics.median(pings)),
                "admit_p10_us": round(times[len(times) // 10]),
                "admit_p99_us": round(times[int(len(times) * 0.99)]),
                "script_best_us": round(best, 1),
                "script_mean_us": round(float(stats["usec_per_call"]), 1),
                "admit_and_settle_per_s": round(len(times) / spent),
                "cpu_client_us_admit_and_settle": round(cpu / len(times) * 1e6),
                "cpu_valkey_us_admit_and_settle": round(valkey / len(times) * 1e6),
            }
    await client.aclose()
    return found


if __name__ == "__main__":
    main()

"""Several schedulers on the same trace and the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import redis

from inference.simulation.machine import Machine, Run
from inference.simulation.measures import (
    Measures,
    Service,
    first_token_ms,
    measure,
    percentile,
    quiet_tenants,
)
from inference.simulation.schedulers import Fair, FirstCome, RateLimited, RoundRobin, Scheduler
from inference.simulation.traces import Trace

FIRST_COME = "first-come"
SCHEDULERS = ("vtc", "vtc-no-express", FIRST_COME, "round-robin", "rate-limit")
# Quiet tenants whose time to first token is compared with what it is alone; the busiest, for many samples.
ALONE = 3


def compare(
    client: redis.Redis,
    machine: Machine,
    trace: Trace,
    names: Iterable[str] = SCHEDULERS,
    *,
    per_minute: float,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Measures]:
    """Play the trace under each scheduler; `tell` hears each one's name before. First come, first served is always
    among them: throughput is told against it. Leaves nothing in Valkey."""
    wanted = [FIRST_COME, *(name for name in names if name != FIRST_COME)]
    found: dict[str, Measures] = {}
    quiet: list[str] = []
    alone: dict[str, float] = {}
    for name in wanted:
        tell(name)
        scheduler = _scheduler(name, client, trace, per_minute)
        try:
            jobs = Run(machine, trace, scheduler).play()
        finally:
            scheduler.close()
        if name == FIRST_COME:
            quiet = quiet_tenants(trace, Service(trace, jobs, machine.step_ms))
            alone = {tenant: _alone_ms(machine, trace, tenant) for tenant in quiet[:ALONE]}
        found[name] = measure(name, trace, jobs, machine.step_ms, quiet, alone)
    base = found[FIRST_COME].tokens_per_s
    for one in found.values():
        one.to_first_come = one.tokens_per_s / base if base else 1.0
    order = list(dict.fromkeys((*names, FIRST_COME)))
    return [found[name] for name in order]


def _alone_ms(machine: Machine, trace: Trace, tenant: str) -> float:
    jobs = Run(machine, trace.only(tenant), FirstCome()).play()
    return percentile(first_token_ms(jobs, {tenant}), 0.99) or 0.0


def _scheduler(name: str, client: redis.Redis, trace: Trace, per_minute: float) -> Scheduler:
    if name == "vtc":
        return Fair(client, trace.weights)
    if name == "vtc-no-express":
        return Fair(client, trace.weights, express=False)
    if name == "round-robin":
        return RoundRobin()
    if name == "rate-limit":
        return RateLimited(per_minute)
    return FirstCome()

"""What a run was like: fairness, speed for the quiet, throughput, starvation."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.queue.scripts import W_IN, W_OUT
from inference.simulation.schedulers import Job
from inference.simulation.traces import Trace

BUCKET_MS = 10_000.0
WINDOW = 6  # buckets: 60 s


@dataclass(slots=True)
class Measures:
    """Of one scheduler. Service is weighted tokens (one for the prompt's, two for the answer's) over the weight."""

    scheduler: str
    tokens_per_s: float  # prompt and answer tokens served while the trace lasted
    to_first_come: float = 1.0  # tokens_per_s against first come, first served
    difference_max: float = 0.0  # service per second, summed over tenants: see `differences`
    difference_mean: float = 0.0
    difference_variance: float = 0.0
    jain: float = 1.0
    quiet_p50_ms: float | None = None  # time to first token of quiet tenants
    quiet_p99_ms: float | None = None
    quiet_ratio: float | None = (
        None  # p99 beside the others against p99 alone, the worst of the tenants looked at
    )
    longest_wait_ms: float = 0.0
    longest_quiet_wait_ms: float = 0.0
    refused: int = 0
    differences: list[float] = field(default_factory=list)


class Service:
    """Cumulative service and demand of each tenant at each bucket's end."""

    def __init__(self, trace: Trace, jobs: Sequence[Job], step_ms: float) -> None:
        self.buckets = max(1, int(trace.seconds * 1000 // BUCKET_MS))
        self.horizon_ms = self.buckets * BUCKET_MS
        self.received: dict[str, list[float]] = {}
        self.asked: dict[str, list[float]] = {}
        self.tokens = 0
        for tenant in trace.tenants:
            self.received[tenant] = [0.0] * self.buckets
            self.asked[tenant] = [0.0] * self.buckets
        for job in jobs:
            self._add(job, step_ms, trace.weights.get(job.tenant, 1.0))
        for sums in (*self.received.values(), *self.asked.values()):
            for index in range(1, self.buckets):
                sums[index] += sums[index - 1]

    def _add(self, job: Job, step_ms: float, weight: float) -> None:
        one = job.arrival
        if one.at_ms < self.horizon_ms:
            whole = W_IN * one.prompt_tokens + W_OUT * one.completion_tokens
            self.asked[job.tenant][int(one.at_ms // BUCKET_MS)] += whole / weight
        if job.refused or job.started_ms >= self.horizon_ms:
            return
        received = self.received[job.tenant]
        index = int(job.started_ms // BUCKET_MS)
        received[index] += W_IN * one.prompt_tokens / weight
        self.tokens += one.prompt_tokens
        before = 0
        for index in range(int(job.first_ms // BUCKET_MS), self.buckets):
            now = job.tokens_at((index + 1) * BUCKET_MS - 1e-6, step_ms)
            received[index] += W_OUT * (now - before) / weight
            self.tokens += now - before
            before = now
            if before >= one.completion_tokens:
                break

    def differences(self) -> list[float]:
        """For each window of 60 s (one every 10 s): by how much tenants received less than the one that received the
        most, as far as they had asked for more; summed, per second."""
        width = min(WINDOW, self.buckets)
        found = []
        for begin in range(self.buckets - width + 1):
            end = begin + width - 1
            got: dict[str, float] = {}
            unmet: dict[str, float] = {}
            for tenant, sums in self.received.items():
                earlier = sums[begin - 1] if begin else 0.0
                got[tenant] = sums[end] - earlier
                unmet[tenant] = self.asked[tenant][end] - sums[end]
            most = max(got.values(), default=0.0)
            total = sum(max(0.0, min(most - got[tenant], unmet[tenant])) for tenant in got)
            found.append(total / (width * BUCKET_MS / 1000))
        return found

    def entitlements(self, total: float | None = None) -> dict[str, float]:
        """Each tenant's max-min fair part of what was served: nobody more than they asked for, the rest in equal
        parts (of weighted service)."""
        asked = sorted((sums[-1], tenant) for tenant, sums in self.asked.items())
        left = sum(sums[-1] for sums in self.received.values()) if total is None else total
        found: dict[str, float] = {}
        for index, (wanted, tenant) in enumerate(asked):
            found[tenant] = min(wanted, left / (len(asked) - index))
            left -= found[tenant]
        return found

    def jain(self) -> float:
        """Jain's index over what tenants received against what they were entitled to: 1 when all got the same part."""
        parts = [
            self.received[tenant][-1] / entitled
            for tenant, entitled in self.entitlements().items()
            if entitled > 0
        ]
        squares = sum(part * part for part in parts)
        return sum(parts) ** 2 / (len(parts) * squares) if squares else 1.0


def quiet_tenants(trace: Trace, service: Service) -> list[str]:
    """Those who ask for less than half of what the most entitled tenant may have; the busiest first."""
    entitled = service.entitlements()
    most = max(entitled.values(), default=0.0)
    found = [
        (service.asked[tenant][-1], tenant)
        for tenant, part in entitled.items()
        if 0 < service.asked[tenant][-1] <= part and part < most / 2
    ]
    return [tenant for _asked, tenant in sorted(found, reverse=True)]


def first_token_ms(jobs: Sequence[Job], tenants: set[str]) -> list[float]:
    """Times to first token of these tenants' requests, ascending."""
    return sorted(
        job.first_ms - job.arrival.at_ms for job in jobs if job.tenant in tenants and not job.refused
    )


def percentile(values: Sequence[float], part: float) -> float | None:
    """Of ascending values; None where there are none."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else None


def measure(
    name: str,
    trace: Trace,
    jobs: Sequence[Job],
    step_ms: float,
    quiet: Sequence[str],
    alone: dict[str, float],
) -> Measures:
    """All figures of one run. `alone` has, for some quiet tenants, their p99 on the same machine without the others."""
    service = Service(trace, jobs, step_ms)
    differences = service.differences()
    waits: defaultdict[bool, float] = defaultdict(float)
    quiet_set = set(quiet)
    for job in jobs:
        if not job.refused:
            key = job.tenant in quiet_set
            waits[key] = max(waits[key], job.started_ms - job.arrival.at_ms)
    firsts = first_token_ms(jobs, quiet_set)
    ratios = [
        (percentile(first_token_ms(jobs, {tenant}), 0.99) or 0.0) / own
        for tenant, own in alone.items()
        if own
    ]
    return Measures(
        scheduler=name,
        tokens_per_s=service.tokens / (service.horizon_ms / 1000),
        difference_max=max(differences, default=0.0),
        difference_mean=statistics.fmean(differences) if differences else 0.0,
        difference_variance=statistics.pvariance(differences) if differences else 0.0,
        jain=service.jain(),
        quiet_p50_ms=percentile(firsts, 0.5),
        quiet_p99_ms=percentile(firsts, 0.99),
        quiet_ratio=max(ratios, default=None),
        longest_wait_ms=max(waits.values(), default=0.0),
        longest_quiet_wait_ms=waits[True],
        refused=sum(job.refused for job in jobs),
        differences=differences,
    )

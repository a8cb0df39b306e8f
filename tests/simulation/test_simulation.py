"""The simulator: the queue's own scripts on a virtual clock, against the schedulers that they replace."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command

from core.valkey import sync_client
from inference.simulation import traces
from inference.simulation.comparison import SCHEDULERS, compare
from inference.simulation.machine import Machine, Run
from inference.simulation.measures import Measures, Service
from inference.simulation.schedulers import Fair, FirstCome
from inference.simulation.traces import Arrival, Shape, Trace

SMALL = Machine(slots=16, step_ms=20.0)


@pytest.fixture(scope="module")
def flooded() -> dict[str, Measures]:
    """One tenant that sends twice what can be served, beside four quiet ones."""
    rate = 2 * SMALL.requests_per_s(400, 100)
    trace = traces.flood(Shape(tenants=5, seconds=70, rate=rate, prompt=400, completion=100))
    return {one.scheduler: one for one in compare(sync_client(), SMALL, trace, per_minute=20)}


@pytest.mark.slow
def test_l9_the_quiet_are_as_fast_as_alone_under_vtc_and_not_otherwise(flooded: dict[str, Measures]) -> None:
    assert flooded["vtc"].quiet_ratio is not None
    assert flooded["vtc"].quiet_ratio <= 1.25
    assert flooded["first-come"].quiet_ratio is not None
    assert flooded["first-come"].quiet_ratio > 10


@pytest.mark.slow
def test_sharing_costs_no_throughput_and_limiting_does(flooded: dict[str, Measures]) -> None:
    assert flooded["first-come"].to_first_come == 1
    assert flooded["vtc-no-express"].to_first_come >= 0.99
    assert flooded["vtc"].to_first_come >= 0.99
    assert flooded["rate-limit"].to_first_come < 0.8
    assert flooded["rate-limit"].refused > 0


@pytest.mark.slow
def test_nobody_starves_and_all_get_their_part(flooded: dict[str, Measures]) -> None:
    assert flooded["vtc"].longest_quiet_wait_ms < 1_000 < flooded["first-come"].longest_quiet_wait_ms
    assert flooded["vtc"].jain > 0.98 > flooded["first-come"].jain
    assert flooded["vtc"].difference_mean < flooded["first-come"].difference_mean


@pytest.mark.slow
def test_nothing_is_left_in_valkey(flooded: dict[str, Measures]) -> None:
    assert not list(sync_client().scan_iter("atrium:{simulation-*", count=5_000))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(traces.KINDS))
def test_a_seed_gives_the_same_trace_and_every_request_is_served_once(kind: str) -> None:
    shape = Shape(tenants=10, seconds=20, rate=10, prompt=50, completion=20)
    trace = traces.KINDS[kind](shape)
    assert trace == traces.KINDS[kind](shape)
    assert trace.arrivals
    assert trace.arrivals != traces.KINDS[kind](Shape(10, 20, 10, 50, 20, seed=2)).arrivals
    assert [one.at_ms for one in trace.arrivals] == sorted(one.at_ms for one in trace.arrivals)
    fair = Fair(sync_client(), {})
    try:
        jobs = Run(Machine(replicas=3, slots=2), trace, fair).play()
    finally:
        fair.close()
    assert all(job.arrival.at_ms <= job.started_ms <= job.first_ms <= job.ended_ms for job in jobs)
    assert fair.waiting == 0


def test_a_machine_serves_what_it_says() -> None:
    machine = Machine(slots=4, prefill_tokens_per_s=1_000, step_ms=10, first_token_ms=0)
    one = Run(machine, Trace([Arrival(5.0, "a", 100, 11)], 1.0), FirstCome()).play()[0]
    assert (one.started_ms, one.first_ms, one.ended_ms) == (5.0, 105.0, 205.0)
    assert [one.tokens_at(now, 10) for now in (104, 105, 114, 115, 500)] == [0, 1, 1, 2, 11]
    many = Run(machine, Trace([Arrival(0.0, "a", 100, 11)] * 9, 1.0), FirstCome()).play()
    assert sorted(job.first_ms for job in many) == [100.0 * number for number in range(1, 10)]


def test_service_and_entitlement_add_up_by_hand() -> None:
    arrivals = [Arrival(0.0, "a", 10, 5)] * 4 + [Arrival(0.0, "b", 10, 5)]
    trace = Trace(arrivals, 10.0)
    jobs = Run(Machine(slots=2, step_ms=10, first_token_ms=0), trace, FirstCome()).play()
    service = Service(trace, jobs, 10)
    assert {tenant: sums[-1] for tenant, sums in service.received.items()} == {"a": 80, "b": 20}
    assert service.entitlements(total=50) == {"b": 20, "a": 30}
    assert service.entitlements(total=30) == {"b": 15, "a": 15}
    assert service.differences() == [0.0]
    assert service.jain() == 1.0


@pytest.mark.slow
def test_weights_are_followed() -> None:
    machine = Machine(slots=8, step_ms=20.0)
    rate = 3 * machine.requests_per_s(200, 60)
    made = traces.poisson(Shape(tenants=2, seconds=50, rate=rate, prompt=200, completion=60))
    trace = Trace(made.arrivals, made.seconds, {"tenant-00000": 3.0})
    fair = Fair(sync_client(), trace.weights, express=False)
    try:
        service = Service(trace, Run(machine, trace, fair).play(), machine.step_ms)
    finally:
        fair.close()
    bound = 2 * max(300, 2 * machine.slots * 90)
    for bucket in range(service.buckets - 1):  # both wait
        a, b = (service.received[name][bucket] for name in trace.tenants)
        assert abs(a - b) <= bound
    assert a > 3 * bound


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("simulate_sharing", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.slow
def test_the_command_prints_a_table_and_draws(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    arguments = ("--tenants", "4", "--seconds", "70", "--slots", "4", "--completion", "60")
    lines = command(*arguments, "--plot", str(plot)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(SCHEDULERS)
    root = ElementTree.fromstring(plot.read_text())
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == len(SCHEDULERS)


def test_the_command_takes_a_recorded_trace_and_prints_json(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [
        {"at_ms": n, "tenant": f"t{n % 2}", "prompt_tokens": 9, "completion_tokens": 3} for n in range(20)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    found: Any = json.loads(
        command("--recorded", str(path), "--json", "--scheduler", "vtc", "--weight", "t1=2")
    )
    assert [one["scheduler"] for one in found] == ["vtc", "first-come"]
    assert found[0]["tokens_per_s"] > 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "trace.jsonl:1"),
        ('{"at_ms": 1, "tenant": "a", "prompt_tokens": 0, "completion_tokens": 1}', "above 0"),
    ],
)
def test_a_recorded_trace_that_is_wrong_is_refused_by_line(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(line)
    with pytest.raises(CommandError, match=why):
        command("--recorded", str(path))


@pytest.mark.parametrize(
    "arguments",
    [["--tenants", "0"], ["--replicas", "1001"], ["--load", "-1"], ["--weight", "a=x"], ["--weight", "a=0"]],
)
def test_options_out_of_bounds_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        command(*arguments)

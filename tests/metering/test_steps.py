"""Engine steps shared over requests: nothing is lost, nothing counts twice (L12)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference.worker.engines.steps import Part, Report, StepMeter, StepReader, share

NAMES = st.sampled_from("abcdef")
PARTS = st.lists(st.tuples(NAMES, st.integers(0, 5_000), st.integers(0, 8)), unique_by=lambda part: part[0])


@given(busy=st.integers(0, 10**13), parts=PARTS)
def test_shares_add_up_exactly_and_follow_the_tokens(busy: int, parts: list[Part]) -> None:
    total = sum(prefill + decode for _, prefill, decode in parts)
    shares = share(busy, parts)
    assert sum(prefill + decode for _, prefill, decode in shares) == (busy if total else 0)
    for (name, prefill, decode), (owner, prefill_ns, decode_ns) in zip(parts, shares, strict=False):
        assert name == owner
        for tokens, got in ((prefill, prefill_ns), (decode, decode_ns)):
            assert abs(got - busy * tokens / total) <= 1 + busy / 2**50
            assert got >= 0


def test_a_step_of_prompt_and_answers_is_shared_by_tokens() -> None:
    assert share(1_000, [("new", 90, 0), ("old", 0, 1), ("last chunk", 5, 4)]) == [
        ("new", 900, 0),
        ("old", 0, 10),
        ("last chunk", 50, 40),
    ]


def sums(report: Report | None, reader: StepReader | None = None) -> tuple[int, dict[str, tuple[int, int]]]:
    """Engine time, and each request's share."""
    busy, shares = 0, dict[str, tuple[int, int]]()
    assert report is not None
    for busy_ns, parts in (reader or StepReader()).read(report.steps):
        busy += busy_ns
        for name, prefill, decode in parts:
            before = shares.get(name, (0, 0))
            shares[name] = (before[0] + prefill, before[1] + decode)
    return busy, shares


def test_overlapping_steps_count_no_moment_twice() -> None:
    """Asynchronous scheduling begins a step before the one before it has ended."""
    meter = StepMeter()
    meter.begin(0, [("a", 10, 0)])
    meter.begin(40, [("a", 0, 1)])
    meter.end(100)
    meter.end(130)
    meter.begin(1_000, [("a", 0, 1)])  # an idle engine in between
    meter.end(1_020)
    report = meter.take()
    assert report is not None
    assert report.steps[-1] == (20, None)  # as the one before: not said again
    assert sums(report) == (150, {"a": (100, 50)})


def test_a_request_is_closed_after_the_last_step_that_works_on_it() -> None:
    meter = StepMeter()
    meter.begin(0, [("a", 1, 0), ("b", 1, 0)])
    meter.leave(["a", "waiting"])  # aborted while the step runs; and one that never ran
    assert meter.take() == Report([], ["waiting"])
    assert meter.take() is None
    meter.end(10)
    report = meter.take()
    assert report is not None
    assert report.closed == ["a"]
    assert sums(report) == (10, {"a": (5, 0), "b": (5, 0)})
    assert meter.take() is None


def test_several_devices_are_busy_at_once() -> None:
    meter = StepMeter(devices=4)
    meter.begin(0, [("a", 1, 0)])
    meter.end(10)
    assert sums(meter.take()) == (40, {"a": (40, 0)})


EVENTS = st.lists(
    st.one_of(st.tuples(st.just("begin"), PARTS), st.tuples(st.just("end"), st.just(None)), NAMES),
    max_size=40,
)


@given(events=EVENTS, pauses=st.lists(st.integers(0, 1_000), min_size=81, max_size=81))
def test_whatever_happens_the_shares_add_up_and_everybody_is_closed_once(
    events: list[Any], pauses: list[int]
) -> None:
    meter, reader, now, under_way = StepMeter(), StepReader(), 0, 0
    shares: dict[str, int] = {}
    busy, closed = 0, []
    left: set[str] = set()

    def collect() -> None:
        nonlocal busy
        if (report := meter.take()) is not None:
            closed.extend(report.closed)
            took, parts = sums(report, reader)
            busy += took
            for name, (prefill, decode) in parts.items():
                shares[name] = shares.get(name, 0) + prefill + decode

    for event, pause in zip([*events, *[("end", None)] * 40], pauses, strict=False):
        now += pause
        if isinstance(event, str):
            if event not in left:
                left.add(event)
                meter.leave([event])
        elif event[0] == "begin":
            parts = [part for part in event[1] if part[0] not in left and part[1] + part[2]]
            if parts:
                meter.begin(now, parts)
                under_way += 1
        elif under_way:
            meter.end(now)
            under_way -= 1
        collect()
    assert sum(shares.values()) == busy <= now
    assert sorted(closed) == sorted(left)

"""The fair queue on a real Valkey, against Virtual Token Counter scheduling in plain Python; laws L7 and L8."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.valkey import sync_client
from inference.queue import calls, scripts
from inference.queue.blocking import BlockingQueue
from inference.queue.calls import QueueFull
from inference.queue.wire import decode_ticket, note_from
from tests.inference.reference_vtc import W_IN, W_OUT, Vtc
from tests.inference.test_queue import ticket

NOW = 1_700_000_000_000
LATER = NOW + 3_600_000
Make = Callable[..., Any]


class Drive:
    """A queue and the reference beside it. Every script runs twice: the second time must change nothing."""

    def __init__(self) -> None:
        self.queue = BlockingQueue(sync_client(), f"test-{uuid4()}")
        self.vtc = Vtc()
        self.now = NOW
        self.names = itertools.count()
        self.pulls = itertools.count()

    def add(self, tenant: str, **facts: Any) -> str:
        name = f"r{next(self.names):05d}"
        facts = {"weight": 1.0, "band": 0, "priority": 0, "prompt_tokens": 10, "deadline_ms": LATER, **facts}
        made = ticket("d", tenant, name, **facts)
        for _ in range(2):
            self.queue.enqueue(made, 1_000, now_ms=self.now)
        self.vtc.enqueue(
            name,
            tenant,
            weight=facts["weight"],
            band=facts["band"],
            priority=facts["priority"],
            prompt=facts["prompt_tokens"],
            deadline_ms=facts["deadline_ms"],
        )
        return name

    def pull(self, room: int, express: int = 0, replica: str = "rep-1") -> list[str]:
        number = f"n-{next(self.pulls)}"
        expected = self.vtc.pull(replica, room, express, self.now)
        for _ in range(2):
            found = self.queue.take(replica, number, room=room, express=express, now_ms=self.now)
            assert [decode_ticket(payload).id for payload in found.payloads] == expected
        return expected

    def use(self, used: dict[str, tuple[int, int]]) -> None:
        for _ in range(2):
            self.queue.charge(used, now_ms=self.now)
        self.vtc.use(used)

    def finish(self, name: str, used_in: int = 0, used_out: int = 0) -> None:
        note = note_from(
            ticket("d", self.vtc.requests[name].tenant, name), outcome="completed", code="", finished_ms=1
        )
        note.prompt_tokens, note.completion_tokens = used_in, used_out
        for _ in range(2):
            self.queue.finish(note, now_ms=self.now)
        self.vtc.end(name, used_in, used_out)

    def counters(self) -> dict[str, float]:
        found: dict[bytes, bytes] = self.queue.client.hgetall(self.queue.keys.accounts)  # type: ignore[assignment]
        return {name.decode(): float(text.split()[0]) for name, text in found.items()}

    def key_names(self) -> set[str]:
        prefix = self.queue.keys.prefix
        return {
            key.decode().removeprefix(prefix)
            for key in self.queue.client.scan_iter(f"{prefix}*", count=5_000)
        }

    def clear(self) -> None:
        for key in self.key_names():
            self.queue.client.delete(self.queue.keys.prefix + key)


@pytest.fixture
def drive() -> Iterator[Drive]:
    made = Drive()
    yield made
    made.clear()


class AgainstTheReference(RuleBasedStateMachine):
    """Anything that can happen to requests, in any order: same order of service, same counters."""

    def __init__(self) -> None:
        super().__init__()
        self.drive = Drive()

    def teardown(self) -> None:
        for request in list(self.drive.vtc.requests.values()):
            self.drive.finish(request.id)
        assert not self.drive.key_names() & {"requests", "running", "served", "bands"}
        assert not [key for key in self.drive.key_names() if key.startswith(("queue:", "order:", "hungry:"))]
        totals = self.drive.queue.client.hkeys(self.drive.queue.keys.totals)
        assert not [name for name in totals if name.startswith((b"weight", b"waiting"))]  # type: ignore[union-attr]
        self.drive.clear()

    def ids(self, state: str) -> list[str]:
        return [name for name, request in self.drive.vtc.requests.items() if request.state == state]

    @rule(
        tenant=st.sampled_from("abcd"),
        weight=st.sampled_from([1.0, 1.0, 3.0, 0.5]),
        band=st.sampled_from([0, 0, 0, 1]),
        priority=st.integers(-2, 2),
        prompt=st.integers(0, 50),
        late=st.integers(0, 9),
    )
    def add(self, tenant: str, weight: float, band: int, priority: int, prompt: int, late: int) -> None:
        self.drive.add(
            tenant, weight=weight, band=band, priority=priority, prompt_tokens=prompt,
            deadline_ms=LATER if late else NOW - 1,
        )  # fmt: skip

    @rule(room=st.integers(0, 5), express=st.integers(0, 2), replica=st.sampled_from(["rep-1", "rep-2"]))
    def pull(self, room: int, express: int, replica: str) -> None:
        self.drive.pull(room, express, replica)

    @precondition(lambda self: self.ids("running"))
    @rule(data=st.data())
    def use(self, data: Any) -> None:
        names = data.draw(st.lists(st.sampled_from(self.ids("running")), unique=True, min_size=1))
        used = {}
        for name in names:
            request = self.drive.vtc.requests[name]
            request.used_out += data.draw(st.integers(0, 20))
            used[name] = (data.draw(st.sampled_from([0, request.prompt])), request.used_out)
        self.drive.use(used)

    @precondition(lambda self: self.ids("running"))
    @rule(data=st.data(), used_out=st.integers(0, 30))
    def finish(self, data: Any, used_out: int) -> None:
        self.drive.finish(data.draw(st.sampled_from(self.ids("running"))), 0, used_out)

    @precondition(lambda self: self.ids("waiting"))
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        name = data.draw(st.sampled_from(self.ids("waiting")))
        assert self.drive.queue.cancel(name, now_ms=self.drive.now) == ""
        assert self.drive.queue.cancel(name, now_ms=self.drive.now) is None
        self.drive.vtc.end(name)

    @precondition(lambda self: self.ids("running"))
    @rule(data=st.data(), lost=st.sampled_from(["rep-1", "rep-2"]))
    def requeue(self, data: Any, lost: str) -> None:
        name = data.draw(st.sampled_from(self.ids("running")))
        again = ticket("d", self.drive.vtc.requests[name].tenant, name, attempt=1)
        expected = self.drive.vtc.requeue(name, lost)
        assert self.drive.queue.requeue(again, lost, now_ms=self.drive.now) == expected
        assert not self.drive.queue.requeue(again, lost, now_ms=self.drive.now)

    @invariant()
    def counters_agree(self) -> None:
        expected = {name: tenant.counter for name, tenant in self.drive.vtc.tenants.items()}
        assert self.drive.counters() == expected

    @invariant()
    def nothing_is_lost(self) -> None:
        client, keys = self.drive.queue.client, self.drive.queue.keys
        assert client.hlen(keys.requests) == len(self.ids("waiting")) + len(self.ids("running"))
        assert client.hlen(keys.running) == len(self.ids("running"))


TestAgainstTheReference = AgainstTheReference.TestCase
TestAgainstTheReference.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_l7_backlogged_tenants_stay_within_the_bound_all_along(
    drive: Drive, weights: tuple[float, float]
) -> None:
    """A small engine with lengths drawn at random; one tenant asks long, the other short."""
    random_, capacity, longest, most = random.Random(7), 4, 60, 40
    bound = 2 * max(W_IN * longest, W_OUT * capacity * most)
    tenants = dict(zip(("long", "short"), weights, strict=True))
    length: dict[str, int] = {}
    running: dict[str, int] = {}

    def backlog() -> None:
        for tenant, weight in tenants.items():
            while len(drive.vtc.waiting(tenant)) < 6:
                prompt, answer = (longest, most) if tenant == "long" else (8, 4)
                name = drive.add(tenant, weight=weight, prompt_tokens=random_.randint(prompt // 2, prompt))
                length[name] = random_.randint(answer // 2, answer)

    backlog()
    furthest = 0.0
    for _ in range(120):
        running |= dict.fromkeys(drive.pull(capacity - len(running)), 0)
        assert len(running) == capacity, "L8: no slot idles while anyone waits"
        for name in running:
            running[name] += 1
        drive.use({name: (0, tokens) for name, tokens in running.items()})
        for name in [name for name, tokens in running.items() if tokens >= length[name]]:
            drive.finish(name, 0, running.pop(name))
        backlog()
        a, b = (drive.vtc.tenants[name].service for name in tenants)
        furthest = max(furthest, abs(a - b))
        assert abs(a - b) <= bound
    assert furthest > 0
    assert min(tenant.service for tenant in drive.vtc.tenants.values()) > 5 * longest
    counters = drive.counters()
    assert {name: pytest.approx(t.counter) for name, t in drive.vtc.tenants.items()} == counters


def test_l8_time_away_is_worth_nothing(drive: Drive) -> None:
    drive.add("away", prompt_tokens=5)
    drive.pull(1)
    drive.finish("r00000")
    for _ in range(30):
        drive.add("busy", prompt_tokens=100)
    drive.pull(10)
    for _ in range(10):
        drive.add("away", prompt_tokens=100)
    order = [drive.vtc.requests[name].tenant for name in drive.pull(10)]
    assert order.count("away") == 5


def test_what_was_received_above_the_level_is_not_forgotten(drive: Drive) -> None:
    """Whoever asks for one long thing at a time must not be first each time."""
    for _ in range(40):
        drive.add("patient", prompt_tokens=10)
    taken = 0
    for _ in range(4):
        drive.add("greedy", prompt_tokens=100)
        for _ in range(40):
            (name,) = drive.pull(1)
            drive.finish(name)
            if drive.vtc.requests[name].tenant == "greedy":
                break
            taken += 1
    assert taken >= 25  # ten of the patient one's for each but the last of the greedy one's


def test_a_lower_band_goes_first_whatever_it_has_received(drive: Drive) -> None:
    for _ in range(3):
        drive.add("plain", band=1)
    for _ in range(6):
        drive.add("first", band=0, prompt_tokens=1_000)
    assert [drive.vtc.requests[name].tenant for name in drive.pull(9)] == ["first"] * 6 + ["plain"] * 3


def test_priority_orders_requests_inside_a_tenant_only(drive: Drive) -> None:
    late = drive.add("a", priority=1)
    early = drive.add("a", priority=0)
    other = drive.add("b", priority=9)
    order = drive.pull(3)
    assert order.index(early) < order.index(late)
    assert order.index(other) < 2


def test_express_serves_only_whoever_runs_little_and_whose_turn_it_is(drive: Drive) -> None:
    for _ in range(12):
        drive.add("flood", prompt_tokens=10)
    assert len(drive.pull(7, express=2)) == 7, "nobody is behind"
    for _ in range(4):
        drive.add("quiet", prompt_tokens=1)
    drive.use({"r00000": (10, 100)})
    assert [drive.vtc.requests[name].tenant for name in drive.pull(0, express=1)] == ["quiet"]
    assert [drive.vtc.requests[name].tenant for name in drive.pull(0, express=9)] == ["quiet"] * 2
    assert drive.pull(0, express=9) == [], "three of ten is more than half of its part"
    drive.use({"r00012": (1, 500)})
    drive.finish("r00013")
    drive.finish("r00014")
    assert drive.pull(0, express=9) == [], "it is the other's turn"


def test_prompts_that_fill_the_engine_keep_the_rest_waiting(drive: Drive) -> None:
    for _ in range(5):
        drive.add("a", prompt_tokens=100)
    pulled = drive.queue.take("rep", "1", room=5, tokens=150, now_ms=NOW)
    assert len(pulled.payloads) == 2
    assert drive.queue.take("rep", "2", room=5, tokens=0, now_ms=NOW).payloads == []


def test_a_request_that_another_replica_begins_again_is_charged_once(drive: Drive) -> None:
    name = drive.add("a", prompt_tokens=100)
    drive.pull(1)
    drive.use({name: (100, 30)})
    assert drive.counters()["a"] == 160
    assert drive.queue.requeue(ticket("d", "a", name, attempt=1), "rep-1", now_ms=NOW)
    drive.vtc.requeue(name, "rep-1")
    drive.pull(1, replica="rep-2")
    drive.use({name: (100, 12)})  # its first tokens once more
    assert drive.counters()["a"] == 160
    drive.finish(name, 100, 40)
    assert drive.counters()["a"] == 180


def test_requeued_requests_keep_their_order(drive: Drive) -> None:
    names = [drive.add("a") for _ in range(4)]
    drive.pull(3)
    for name in reversed(names[:3]):
        assert drive.queue.requeue(ticket("d", "a", name, attempt=1), "rep-1", now_ms=NOW)
        drive.vtc.requeue(name, "rep-1")
    assert drive.pull(4) == names


def test_a_deadline_that_has_passed_is_not_charged_for(drive: Drive) -> None:
    drive.add("a", prompt_tokens=500, deadline_ms=NOW - 1)
    drive.pull(1)
    assert drive.counters()["a"] == 1


def test_a_lost_answer_of_a_pull_comes_again_but_not_what_is_over(drive: Drive) -> None:
    names = [drive.add("a") for _ in range(3)]
    first = drive.queue.take("rep", "7", room=3, now_ms=NOW)
    assert drive.queue.take("rep", "7", room=3, now_ms=NOW) == calls.Pulled(
        first.payloads, others=False, more=True
    )
    drive.vtc.pull("rep", 3, 0, NOW)
    drive.finish(names[1])
    again = drive.queue.take("rep", "7", room=3, now_ms=NOW)
    assert [decode_ticket(payload).id for payload in again.payloads] == [names[0], names[2]]
    assert drive.queue.take("rep", "8", room=3, now_ms=NOW).payloads == []


def test_counters_are_made_smaller_together_before_they_lose_precision(drive: Drive) -> None:
    for tenant, prompt in (("a", 10), ("b", 25)):
        for _ in range(3):
            drive.add(tenant, prompt_tokens=prompt)
    drive.pull(2)
    before = drive.counters()
    client, keys = drive.queue.client, drive.queue.keys
    far = float(scripts.REBASE)
    for name, counter in before.items():
        text: bytes = client.hget(keys.accounts, name)  # type: ignore[assignment]
        client.hset(keys.accounts, name, f"{counter + far:.17g} " + text.decode().split(" ", 1)[1])
        client.zadd(keys.prefix + "order:0", {name: counter + far})
        drive.vtc.tenants[name].counter += far
    drive.pull(1)  # a: its counter grows by 10, and then all fall
    after = drive.counters()
    assert max(after.values()) < 100
    assert after["b"] - after["a"] == before["b"] - before["a"] - 10
    for name, counter in after.items():
        drive.vtc.tenants[name].counter = counter
    drive.pull(3)


def test_a_full_queue_says_when_there_will_be_room(drive: Drive) -> None:
    for number in range(4):
        drive.queue.enqueue(ticket("d", "a", f"a-{number}", deadline_ms=LATER), 4, now_ms=NOW)
    with pytest.raises(QueueFull) as unknown:
        drive.queue.enqueue(ticket("d", "a", "a-4", deadline_ms=LATER), 4, now_ms=NOW)
    assert (unknown.value.waiting, unknown.value.expected_ms) == (4, -1)
    drive.queue.take("rep", "1", room=2, now_ms=NOW)
    for number in range(5, 7):
        drive.queue.enqueue(ticket("d", "a", f"a-{number}", deadline_ms=LATER), 4, now_ms=NOW)
    with pytest.raises(QueueFull) as known:  # two were taken in the last second, four wait
        drive.queue.enqueue(ticket("d", "a", "a-9", deadline_ms=LATER), 4, now_ms=NOW + 1_000)
    assert known.value.expected_ms == 2_000


def test_status_tells_a_tenant_of_itself(drive: Drive) -> None:
    queue = drive.queue
    assert queue.status("a", weight=3, now_ms=NOW) == calls.TenantStatus(0, 0, None, 1.0, None, 0)
    for _ in range(4):
        drive.add("a", weight=3.0)
        drive.add("b", weight=1.0)
    before = queue.status("a", now_ms=NOW)
    assert (before.waiting, before.running, before.share, before.new_wait_ms) == (4, 0, 0.75, None)
    drive.pull(2)
    status = queue.status("a", now_ms=NOW + 1_000)
    assert (status.waiting, status.running, status.turn) == (3, 1, 0)
    assert status.first_wait_ms == 667  # two a second leave the queue, three quarters of them are its own
    assert status.new_wait_ms == 2_667
    assert queue.status("b", now_ms=NOW + 1_000).turn == 1
    stranger = queue.status("c", weight=1, now_ms=NOW + 1_000)
    assert (stranger.waiting, stranger.running, stranger.turn, stranger.share) == (0, 0, None, 0.2)


def test_tenants_that_rest_are_forgotten_after_a_while_and_so_is_all_else(drive: Drive) -> None:
    for tenant in ("a", "b", "c"):
        drive.finish(drive.add(tenant))
    assert set(drive.counters()) == {"a", "b", "c"}
    client, keys = drive.queue.client, drive.queue.keys
    left = drive.key_names()
    assert left == {"accounts", "resting", "last", "totals", "wake"}
    assert all(0 < client.pttl(keys.prefix + name) <= scripts.KEPT_MS for name in left)  # type: ignore[operator]
    drive.now += scripts.RESTED_MS + 1
    for key in (keys.accounts, keys.last, keys.totals):
        client.pexpire(key, 5_000)
    name = drive.add("d")
    drive.pull(1)
    for key in (keys.accounts, keys.last, keys.totals):
        assert 5_000 < client.pttl(key) <= scripts.KEPT_MS, "what is in use is kept"  # type: ignore[operator]
    drive.finish(name)
    assert set(drive.counters()) == {"c", "d"}, "two of those that rested long go with each that comes"


def test_control_without_the_lift_a_tenant_would_have_credit(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes L8's guard out of the script: the test above must notice."""
    guard = "if waiting == 0 then a.c = math.max(a.c, level(band) or a.c) end"
    assert guard in scripts.ENQUEUE
    monkeypatch.setattr(scripts, "ENQUEUE", scripts.ENQUEUE.replace(guard, ""))
    drive.queue = BlockingQueue(sync_client(), f"test-{uuid4()}")
    with pytest.raises(AssertionError):
        test_l8_time_away_is_worth_nothing(drive)


def test_control_without_charges_for_answers_the_bound_breaks(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "CHARGE", "return 0")
    drive.queue = BlockingQueue(sync_client(), f"test-{uuid4()}")
    with pytest.raises(AssertionError):
        test_l7_backlogged_tenants_stay_within_the_bound_all_along(drive, (1.0, 1.0))

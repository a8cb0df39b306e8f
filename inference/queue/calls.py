"""How the queue's scripts are called: their arguments, and what their answers mean. Pure; no connection.

The asyncio client, the blocking one and the simulator all go through here, so that they run the same scheduling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.queue.keys import DeploymentKeys
from inference.queue.scripts import MOST_PRIORITY
from inference.queue.wire import Ticket, UsageNote, encode_ticket

# Tenants' weights travel as whole thousandths; a plan's weight is within these bounds whatever it says.
LEAST_WEIGHT, MOST_WEIGHT = 1, 1_000_000_000
ANY_TOKENS = 2**52
# Requests per call of CHARGE: Lua hands at most some thousand values to one command.
CHARGES = 1_000

Arguments = list[Any]
Usage = tuple[int, int]  # prompt tokens and answer tokens so far


class QueueFull(Exception):
    """The tenant has as many requests waiting as it may.

    `waiting` says how many, `expected_ms` when the last of them will be taken (-1 where that is not known).
    """

    def __init__(self, waiting: int, expected_ms: int = -1) -> None:
        super().__init__(waiting)
        self.waiting = waiting
        self.expected_ms = expected_ms


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull gave: `payloads` (`wire.Ticket`), whether more than one tenant still waits, and whether any does."""

    payloads: list[bytes]
    others: bool
    more: bool


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """One tenant's view of one queue. Times are estimates in ms, None where nothing was taken lately."""

    waiting: int
    running: int
    turn: int | None  # tenants whose turn comes before; None when nothing of the tenant waits
    share: (
        float  # of the service: the tenant's weight over the weights of all that are active, its own included
    )
    first_wait_ms: int | None  # until the next of its waiting requests is taken
    new_wait_ms: int | None  # until a request that is sent now is taken


def weight_of(weight: float) -> int:
    """A weight in whole thousandths, within bounds."""
    return max(LEAST_WEIGHT, min(MOST_WEIGHT, round(weight * 1000)))


def enqueue(keys: DeploymentKeys, ticket: Ticket, limit: int, *, now_ms: int = 0) -> Arguments:
    """Arguments of ENQUEUE."""
    return [
        keys.prefix,
        now_ms,
        ticket.id,
        encode_ticket(ticket),
        ticket.tenant,
        limit,
        weight_of(ticket.weight),
        ticket.band,
        max(-MOST_PRIORITY, min(MOST_PRIORITY, ticket.priority)),
        max(0, ticket.prompt_tokens),
        ticket.deadline_ms,
    ]


def enqueued(answer: Sequence[int]) -> int:
    """The request's place, from ENQUEUE's answer. Raises QueueFull."""
    if not answer[0]:
        raise QueueFull(int(answer[1]), int(answer[2]))
    return int(answer[1])


def pull(
    keys: DeploymentKeys,
    replica: str,
    number: str,
    *,
    room: int,
    express: int = 0,
    tokens: int = ANY_TOKENS,
    idle_ms: int = 0,
    read: Sequence[bytes] = (),
    now_ms: int = 0,
) -> Arguments:
    """Arguments of PULL. A repeated `number` of the same replica gives what it gave the first time."""
    return [keys.prefix, now_ms, replica, room, express, tokens, number, idle_ms, *read]


def pulled(answer: Any) -> Pulled:
    """PULL's answer."""
    return Pulled(list(answer[0]), others=answer[1] == 2, more=answer[1] > 0)


def charge(keys: DeploymentKeys, used: Mapping[str, Usage], *, now_ms: int = 0) -> list[Arguments]:
    """Arguments of as many calls of CHARGE as it takes. `used` is cumulative, per request."""
    items = list(used.items())
    return [
        [
            keys.prefix,
            now_ms,
            *(value for name, usage in items[at : at + CHARGES] for value in (name, *usage)),
        ]
        for at in range(0, len(items), CHARGES)
    ]


def finish(keys: DeploymentKeys, note: UsageNote, *, now_ms: int = 0) -> Arguments:
    """Arguments of FINISH."""
    return [keys.prefix, now_ms, note.request_id, note.prompt_tokens, note.completion_tokens]


def cancel(keys: DeploymentKeys, request_id: str, *, end: str = "", now_ms: int = 0) -> Arguments:
    """Arguments of CANCEL. `end`: outcome and code of the usage record; "": cancelled, because the client has left."""
    return [keys.prefix, now_ms, request_id, keys.control(""), end]


def requeue(keys: DeploymentKeys, ticket: Ticket, lost_replica: str, *, now_ms: int = 0) -> Arguments:
    """Arguments of REQUEUE."""
    return [keys.prefix, now_ms, ticket.id, encode_ticket(ticket), lost_replica, keys.control("")]


def status(
    keys: DeploymentKeys, tenant: str, *, weight: float = 1.0, band: int = 0, now_ms: int = 0
) -> Arguments:
    """Arguments of STATUS. `weight` and `band` count where the tenant has sent nothing lately."""
    return [keys.prefix, now_ms, tenant, weight_of(weight), band]


def status_from(answer: Sequence[int]) -> TenantStatus:
    """STATUS's answer."""
    waiting, running, turn, share, first, new = (int(value) for value in answer)
    return TenantStatus(
        waiting=waiting,
        running=running,
        turn=None if turn < 0 else turn,
        share=share / 1_000_000,
        first_wait_ms=None if first < 0 else first,
        new_wait_ms=None if new < 0 else new,
    )

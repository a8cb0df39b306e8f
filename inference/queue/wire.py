"""What travels through Valkey between web processes and replicas, as MessagePack arrays (small, and 2 µs to read)."""

from __future__ import annotations

from typing import Any

import msgspec


class Ticket(msgspec.Struct, array_like=True, omit_defaults=True):
    """A request in the queue: what the engine needs, and what its usage record will say.

    SECURITY: holds the prompt, so it lives in Valkey only until the request is accounted for, and is never logged.
    """

    id: str
    web: str
    attempt: int
    kind: str  # chat, completion, embedding
    tenant: str
    key: str | None
    user: str | None
    model: str  # public name
    version: str
    deployment: str
    route: str
    salt: str
    enqueued_ms: int  # since 1970
    deadline_ms: int
    body: dict[str, Any]
    forced: list[list[int]] = msgspec.field(default_factory=list)
    end_user: str = ""
    # What admission decided (all 0 or empty where nothing is limited or charged)
    weight: float = 1.0  # the tenant's share of service against others'
    band: int = 0  # of the tenant's plan: a lower band is served before a higher one
    priority: int = 0  # inside the tenant: a lower one is served first
    prompt_tokens: int = 0  # exact by the model's tokenizer; an upper bound where there is none
    most_tokens: int = 0  # bound on the answer, over all choices
    price: str = ""  # id of the price that this request is charged by, whatever changes meanwhile
    hold_nano: int = 0  # set aside for it, in billionths of the account's currency
    epoch: str = ""  # of the escrow that the hold was taken from
    tags: dict[str, str] = msgspec.field(default_factory=dict)  # the request's `metadata`


class Frame(msgspec.Struct, array_like=True):
    """One piece of news about a request. `seq` counts from 0 within an attempt, so a loss or a repeat shows."""

    id: str
    attempt: int
    seq: int
    kind: int  # STARTED … DONE
    payload: bytes = b""
    tokens: list[tuple[int, list[int]]] = msgspec.field(default_factory=list)
    status: int = 0


STARTED, CHUNK, RESULT, FAILURE, DONE = range(5)

_encode = msgspec.msgpack.Encoder().encode
_decode_ticket = msgspec.msgpack.Decoder(Ticket).decode
_decode_frames = msgspec.msgpack.Decoder(list[Frame]).decode


def encode_ticket(ticket: Ticket) -> bytes:
    """For the queue."""
    return _encode(ticket)


def decode_ticket(data: bytes) -> Ticket:
    """From the queue. Raises msgspec.DecodeError."""
    return _decode_ticket(data)


def encode_frames(frames: list[Frame]) -> bytes:
    """For an outbox: everything that one engine step has for one web process."""
    return _encode(frames)


def decode_frames(data: bytes) -> list[Frame]:
    """From an outbox. Raises msgspec.DecodeError."""
    return _decode_frames(data)


class UsageNote(msgspec.Struct):
    """A usage record on its way to PostgreSQL (field names are those of `billing.UsageRecord`)."""

    request_id: str
    tenant_id: str
    key_id: str | None
    user_id: str | None
    model: str
    version_id: str
    deployment_id: str
    replica: str
    route: str
    stream: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    queue_ms: int
    first_token_ms: int | None
    duration_ms: int
    outcome: str
    error_code: str
    end_user: str
    started_ms: int
    finished_ms: int
    # Engine busy time that was spent on this request, ns: reading the prompt, writing the answer (law L12)
    gpu_prefill_ns: int = 0
    gpu_decode_ns: int = 0
    # As in Ticket
    price: str = ""
    hold_nano: int = 0
    epoch: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class EngineTotals(msgspec.Struct):
    """What one replica has done since it began: its side of the reconciliation with usage records.

    Tokens and requests are those of the usage records that it wrote; `engine_*` are the engine's own count, which
    also has its warm-up and every choice's copy of the prompt. Times in ms since 1970, engine time in ns.
    """

    replica: str
    deployment_id: str
    node: str
    begun_ms: int
    seen_ms: int
    ended_ms: int | None = None  # None while it runs, and for one that was killed
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    engine_prompt_tokens: int = 0
    engine_completion_tokens: int = 0
    busy_ns: int = 0
    attributed_ns: int = 0  # of it, what usage records carry
    dropped_ns: int = 0  # of it, what went to requests that another replica accounts for
    mark: str = ""  # its entry in the journal, once it has ended


def note_from(ticket: Ticket, *, outcome: str, code: str, finished_ms: int) -> UsageNote:
    """A usage record of a ticket's request with nothing used yet; whoever knows more fills it in."""
    return UsageNote(
        request_id=ticket.id,
        tenant_id=ticket.tenant,
        key_id=ticket.key,
        user_id=ticket.user,
        model=ticket.model,
        version_id=ticket.version,
        deployment_id=ticket.deployment,
        replica="",
        route=ticket.route,
        stream=bool(ticket.body.get("stream")),
        prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        queue_ms=0,
        first_token_ms=None,
        duration_ms=max(0, finished_ms - ticket.enqueued_ms),
        outcome=outcome,
        error_code=code,
        end_user=ticket.end_user,
        started_ms=ticket.enqueued_ms,
        finished_ms=finished_ms,
        price=ticket.price,
        hold_nano=ticket.hold_nano,
        epoch=ticket.epoch,
        tags=ticket.tags,
    )


def encode_usage(note: UsageNote) -> bytes:
    """As JSON, readable by whoever has to look into the stream."""
    return msgspec.json.encode(note)


def decode_usage(data: bytes) -> dict[str, Any]:
    """As the dictionary that `billing.services.usage.ingest` takes."""
    return msgspec.json.decode(data)

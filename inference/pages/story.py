"""Why a request took as long as it did and ended as it did, in pieces that a page can draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models import UsageRecord
from inference.call_logs.models import CallLog, LogOutcome

# What to do about an error that clients see often, by its code.
ADVICE: dict[str, Promise] = {
    "rate_limit_exceeded": gettext_lazy("Wait until the limit resets, or ask for a higher one."),
    "insufficient_quota": gettext_lazy(
        "The month's quota or the money is used up: top up, or raise the limit."
    ),
    "queue_full": gettext_lazy("Too many of the tenant's requests wait already. Send fewer at once."),
    "deadline_exceeded": gettext_lazy("It was not done by its deadline. Give it more time, or ask for less."),
    "model_not_found": gettext_lazy("No model of this name may be called. See the list of models."),
    "model_not_priced": gettext_lazy("The model has no price in the tenant's plan. Ask the operator."),
    "content_filter": gettext_lazy("A safety rule stopped it. The verdicts below say which, and where."),
    "context_length_exceeded": gettext_lazy(
        "Prompt and answer do not fit into the model's context. Shorten them."
    ),
    "client_gone": gettext_lazy("The client hung up; what was made until then is charged."),
    "replica_stopped": gettext_lazy("The engine stopped in the middle. Send it again."),
    "replica_lost": gettext_lazy("The engine stopped in the middle. Send it again."),
    "no_replica_available": gettext_lazy(
        "No engine served the model. See how it stands on the page of models."
    ),
}


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the request's time. `left` and `width` are parts of the whole in percent."""

    name: str
    kind: str
    ms: int
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Story:
    """What a page says of a request beyond its facts."""

    phases: list[Phase]
    total_ms: int
    tokens_per_s: float | None
    gpu_ms: int
    advice: str
    freed_nano: int  # of the hold, given back


def story_of(log: CallLog, record: UsageRecord | None) -> Story:
    """Put together what is known; without a usage record there is no engine time and no money."""
    total = max(log.duration_ms, 1)
    queue = min(log.queue_ms, total)
    first = min(max(log.first_token_ms or queue, queue), total)
    pieces = [(_("Waiting"), "wait", 0, queue)]
    if log.first_token_ms is not None:
        pieces += [(_("First token"), "first", queue, first), (_("Answer"), "answer", first, total)]
    elif log.outcome in (LogOutcome.COMPLETED, LogOutcome.CANCELLED, LogOutcome.FAILED):
        pieces.append((_("Engine"), "answer", queue, total))
    phases = [
        Phase(name, kind, end - begin, 100 * begin / total, max(100 * (end - begin) / total, 0.4))
        for name, kind, begin, end in pieces
        if end > begin or kind == "wait"
    ]
    answering = total - first
    gpu_ns = record.gpu_prefill_ns + record.gpu_decode_ns if record else 0
    return Story(
        phases=phases,
        total_ms=log.duration_ms,
        tokens_per_s=round(1000 * (log.completion_tokens - 1) / answering, 1)
        if log.completion_tokens > 1 and answering > 0 and log.first_token_ms is not None
        else None,
        gpu_ms=round(gpu_ns / 1e6),
        advice=_advice(log),
        freed_nano=max(0, record.hold_nano - record.charge_nano) if record and record.is_settled else 0,
    )


def _advice(log: CallLog) -> str:
    said: Any = ADVICE.get(log.error_code)
    if said is None and log.limit_name:
        said = ADVICE["rate_limit_exceeded"]
    if said is None and log.outcome == LogOutcome.BLOCKED:
        said = ADVICE["content_filter"]
    return str(said or "")

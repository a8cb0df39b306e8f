"""What a refused client is told: which limit said no, its value, what is left, and when it is worth another try."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from core import clock
from inference.admission.rules import RATES, Checks, Rule
from inference.errors import Rejected
from tenants.models import LimitKind

Header = tuple[bytes, bytes]

_TITLES = {
    "requests_per_second": "requests per second (RPS)",
    "requests_per_minute": "requests per min (RPM)",
    "requests_per_day": "requests per day (RPD)",
    "tokens_per_minute": "tokens per min (TPM)",
    "tokens_per_day": "tokens per day (TPD)",
    "concurrent_requests": "concurrent requests",
    "monthly_calls": "calls per month",
    "monthly_tokens": "tokens per month",
    "monthly_gpu_seconds": "GPU-seconds per month",
    "monthly_money_nano": "money per month",
}
CONCURRENCY_RETRY_S = 1.0


def duration(microseconds: float) -> str:
    """As OpenAI writes it: `12ms`, `1s`, `6m0s`, `1h30m0s`; rounded up."""
    milliseconds = max(0, math.ceil(microseconds / 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds = math.ceil(milliseconds / 1000)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def rate_headers(checks: Checks, levels: list[int]) -> list[Header]:
    """`x-ratelimit-*` for requests and for tokens: of each, the limit that has the smallest part left.

    `levels` are the buckets' levels in thousandths, as the script answers, in the order of `checks.rates`.
    """
    tightest: dict[bool, tuple[float, Rule, int]] = {}
    for rule, level in zip(checks.rates, levels, strict=False):
        of_tokens = RATES[rule.kind][1]
        left = 1 - level / (1000 * rule.value) if rule.value else 0.0
        if of_tokens not in tightest or left < tightest[of_tokens][0]:
            tightest[of_tokens] = (left, rule, level)
    headers: list[Header] = []
    for of_tokens, (_, rule, level) in sorted(tightest.items()):
        word = "tokens" if of_tokens else "requests"
        remaining = max(0, (1000 * rule.value - level) // 1000)
        reset = level / 1000 * RATES[rule.kind][0] / rule.value if rule.value else 0
        for name, value in (("limit", rule.value), ("remaining", remaining), ("reset", duration(reset))):
            headers.append((f"x-ratelimit-{name}-{word}".encode(), str(value).encode()))
    return headers


def refused(checks: Checks, answer: list[Any], *, model: str, tokens: int, hold_nano: int) -> Rejected:
    """The error for the script's refusal {0, which, index, left, wait µs, levels, month}."""
    _, which, index, left, wait_us, levels, month = answer
    which = which.decode() if isinstance(which, bytes) else which
    headers = rate_headers(checks, levels)
    if which == "month":
        return _quota(checks.months[index - 1], int(left), _month_end(month), model, headers)
    if which == "concurrency":
        return _concurrency(checks.concurrency[index - 1], model, headers)
    return _rate(checks.rates[index - 1], int(left), int(wait_us), model, tokens, headers)


def _rate(rule: Rule, left: int, wait_us: int, model: str, tokens: int, headers: list[Header]) -> Rejected:
    of_tokens = RATES[rule.kind][1]
    cost = tokens if of_tokens else 1
    where = f"for {model} on {_TITLES[rule.kind]} of this {rule.reach}: Limit {rule.value}, Remaining {left}"
    if wait_us < 0:
        what = "Request too large" if of_tokens and rule.value else "No requests are allowed"
        return Rejected(
            429,
            "rate_limit_exceeded",
            f"{what} {where}, Requested {cost}. The limit can never allow it: "
            + (
                "shorten the input or allow fewer tokens."
                if of_tokens and rule.value
                else "ask for a higher one."
            ),
            kind="tokens" if of_tokens else "requests",
            limit=_limit(rule, left, None),
            headers=headers,
            should_retry=False,
        )
    return Rejected(
        429,
        "rate_limit_exceeded",
        f"Rate limit reached {where}, Requested {cost}. Please try again in {duration(wait_us)}.",
        kind="tokens" if of_tokens else "requests",
        retry_after_s=wait_us / 1_000_000,
        limit=_limit(rule, left, clock.now() + timedelta(microseconds=wait_us)),
        headers=headers,
    )


def _concurrency(rule: Rule, model: str, headers: list[Header]) -> Rejected:
    retry = CONCURRENCY_RETRY_S if rule.value else None
    return Rejected(
        429,
        "concurrency_limit_exceeded",
        f"Too many requests at once for {model}: this {rule.reach} may have {rule.value} in flight. "
        "Wait for one to end.",
        kind="rate_limit_error",
        retry_after_s=retry,
        limit=_limit(rule, 0, None),
        headers=headers,
        should_retry=bool(rule.value),
    )


def _quota(rule: Rule, left: int, reset: datetime, model: str, headers: list[Header]) -> Rejected:
    if rule.kind == LimitKind.MONTHLY_GPU_SECONDS:
        left //= 1_000_000
    return Rejected(
        429,
        "insufficient_quota",
        f"You exceeded the quota for {model} on {_TITLES[rule.kind]} of this {rule.reach}: Limit {rule.value}, "
        f"Remaining {left}. It resets at {_rfc3339(reset)}.",
        kind="insufficient_quota",
        limit=_limit(rule, left, reset),
        headers=headers,
        should_retry=False,
    )


def no_money(hold_nano: int, escrow_nano: int, headers: list[Header]) -> Rejected:
    """The tenant's balance and credit do not cover the request's worst case."""
    return Rejected(
        429,
        "insufficient_quota",
        "You exceeded your current balance: it does not cover what this request may cost at most. Top up, or allow "
        "fewer tokens.",
        kind="insufficient_quota",
        limit={
            "name": "balance",
            "scope": "tenant",
            "value": None,
            "remaining": escrow_nano,
            "reset_at": None,
            "needed": hold_nano,
        },
        headers=headers,
        should_retry=False,
    )


def not_priced(model: str) -> Rejected:
    """A tenant that pays by a price list cannot call what is not on it: it would be free by accident."""
    return Rejected(
        403,
        "model_not_priced",
        f"The model '{model[:200]}' has no price in your price plan. Ask the platform's operator.",
        param="model",
    )


def _limit(rule: Rule, left: int, reset: datetime | None) -> dict[str, Any]:
    return {
        "name": rule.kind,
        "scope": rule.reach,
        "value": rule.value,
        "remaining": left,
        "reset_at": _rfc3339(reset) if reset else None,
    }


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _month_end(month: Any) -> datetime:
    text = month.decode() if isinstance(month, bytes) else str(month)
    year, number = int(text[:4]), int(text[4:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)

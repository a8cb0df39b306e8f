"""What masks summaries and texts before they are stored: the recognisers of `safety.pii`, then rules of this module.

The recognisers check digits and look at words nearby, so that they can be used on what goes to a model. A log may mask
more: what only looks like a number of a person goes too.

SECURITY: a summary is never stored unredacted. A redactor that fails withholds the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from traceback import extract_tb

import structlog

from safety import pii

log = structlog.get_logger(__name__)

# (text, entities that are left as they are) -> text
Redact = Callable[[str, frozenset[str]], str]

WITHHELD = "[withheld: redaction failed]"

_OWN: tuple[tuple[str, re.Pattern[str]], ...] = (
    # First, because what follows would match inside it. A cut-off key has no end: masked to the end of the text.
    (
        "PRIVATE_KEY",
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}KEY-----|\Z)", re.S),
    ),
    ("API_KEY", re.compile(r"\b(?:atr|sk|rk|pk|hf|ghp|gho|xox[bp]|AKIA)[-_]?[A-Za-z0-9_\-]{12,200}")),
    ("API_KEY", re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/=\-]{8,500}")),
    ("EMAIL", re.compile(r"(?<![\w.+\-])[\w.+\-]{1,200}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}")),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("IP", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")),
    ("CN_ID", re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")),
    ("CARD", re.compile(r"(?<!\d)\d(?:[ \-]?\d){12,18}(?!\d)")),
    ("PHONE", re.compile(r"(?<![\d.])\+?\(?\d(?:[ \-()]{0,2}\d){6,14}(?![\d.])")),
)
# Masked whatever a tenant's policy says.
ALWAYS = frozenset({"PRIVATE_KEY", "API_KEY"})
# What a policy may name: labels, and entities as safety rules name them.
KINDS = frozenset(
    {name for name, _ in _OWN} | {*pii.RECOGNISERS} | {one.label for one in pii.RECOGNISERS.values()}
)


# What a text must hold for a kind to be looked for at all: most texts cost a fraction of what they would.
_DIGITS = frozenset({"IBAN", "IP", "CN_ID", "CARD", "PHONE"})
_THREE_DIGITS = re.compile(r"\d[\d .()+\-]{2,}")


def _own(text: str, kept: frozenset[str]) -> str:
    """Formats of personal data and credentials, masked as [KIND]. Rather too much than too little."""
    kept = kept | {one.label for name, one in pii.RECOGNISERS.items() if name in kept}
    has_digits = _THREE_DIGITS.search(text) is not None
    for entity, pattern in _OWN:
        if (
            entity in kept
            or (entity in _DIGITS and not has_digits)
            or (entity == "EMAIL" and "@" not in text)
        ):
            continue
        text = pattern.sub(f"[{entity}]", text)
    return text


def _both(text: str, kept: frozenset[str]) -> str:
    """The recognisers, and after them our own rules: what one misses the other may see."""
    return _own(pii.redact(text, kept), kept)


_redact: Redact = _both


def use(function: Redact | None) -> None:
    """Let summaries and texts pass `function` from now on; None goes back to the usual one."""
    global _redact
    _redact = function or _both


def redact(text: str, kept: frozenset[str] = frozenset()) -> str:
    """`text` with personal data and credentials masked, those kinds left that `kept` names. Never raises."""
    if not text:
        return ""
    try:
        return _redact(text, kept - ALWAYS)
    except Exception as error:
        # SECURITY: its message may hold what was said.
        log.error("call_logs.redaction_failed", error=type(error).__name__, at=places(error))
        return WITHHELD


def places(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last, without what it says."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)][-5:]

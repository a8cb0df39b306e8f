"""Where redaction plugs in: `safety.pii.redact` once it is there, and until then the rules of this module.

SECURITY: a summary is never stored unredacted. A redactor that fails withholds the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from traceback import extract_tb

import structlog

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
    ("ID_CARD", re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")),
    ("CARD", re.compile(r"(?<!\d)\d(?:[ \-]?\d){12,18}(?!\d)")),
    ("PHONE", re.compile(r"(?<![\d.])\+?\(?\d(?:[ \-()]{0,2}\d){6,14}(?![\d.])")),
)
# Masked whatever a tenant's policy says.
ALWAYS = frozenset({"PRIVATE_KEY", "API_KEY"})


# What a text must hold for a kind to be looked for at all: most texts cost a fraction of what they would.
_DIGITS = frozenset({"IBAN", "IP", "ID_CARD", "CARD", "PHONE"})
_THREE_DIGITS = re.compile(r"\d[\d .()+\-]{2,}")


def _own(text: str, kept: frozenset[str]) -> str:
    """Formats of personal data and credentials, masked as [KIND]. Rather too much than too little."""
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


_redact: Redact | None = None


def use(function: Redact | None) -> None:
    """Let summaries and texts pass `function` from now on; None goes back to what is found by itself."""
    global _redact
    _redact = function


def _found() -> Redact:
    """`safety.pii.redact`, and after it our own rules: what one misses the other may see."""
    try:
        pii = import_module("safety.pii")
    except ImportError:
        return _own
    given = getattr(pii, "redact", None)
    return _own if given is None else lambda text, kept: _own(str(given(text, kept)), kept)


def redact(text: str, kept: frozenset[str] = frozenset()) -> str:
    """`text` with personal data and credentials masked, those kinds left that `kept` names. Never raises."""
    global _redact
    if not text:
        return ""
    if _redact is None:
        _redact = _found()
    try:
        return _redact(text, kept - ALWAYS)
    except Exception as error:
        # SECURITY: its message may hold what was said.
        log.error("call_logs.redaction_failed", error=type(error).__name__, at=places(error))
        return WITHHELD


def places(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last, without what it says."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)][-5:]

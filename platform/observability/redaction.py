"""What may never reach a log line (L19): keys, credentials, prompts and answers, in fields and inside
sentences.

Used by the log's last processor, so that it also sees what libraries write. The rules err on the side of
masking: a line that says too little costs a look at the trace, a line that says too much cannot be taken
back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
MAX_TEXT = 4_000  # characters of one value; longer ones are nearly always somebody's content
MAX_DEPTH = 6

# Fields whose value is masked whatever it is. Compared in lower case with `-` read as `_`.
_SECRET_FIELDS = {
    *("authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "api_key", "apikey"),
    *("secret", "client_secret", "password", "passwd", "token", "access_token", "refresh_token"),
    *("csrf_token", "csrfmiddlewaretoken", "credential", "credentials", "remote_credential"),
    *("secret_key", "key_pepper", "pepper", "encryption_key", "digest"),
    *("prompt", "prompts", "messages", "message_content", "content", "input", "inputs", "body"),
    *("payload", "completion", "delta", "arguments", "text"),
}
# A field of these endings holds a secret too (`webhook_secret`), but never one that counts (`prompt_tokens`).
_SECRET_ENDINGS = ("_secret", "_password", "_api_key", "_credential", "_credentials", "_access_token")

# An API key of ours keeps its public prefix, by which support finds it.
_OUR_KEY = re.compile(r"atr-(?![A-Za-z0-9]{8}-\[redacted)([A-Za-z0-9]{8}-)?[A-Za-z0-9_\-]+")
_OTHER_KEY = re.compile(r"\b(sk|rk|pk|hf|ghp|xox[bp])[-_][A-Za-z0-9_\-]{8,}")
# The scheme is kept when there is one. Possessive throughout: what has been masked must not match again by
# halves.
_AUTHORIZATION = re.compile(
    r"""(?i)(authorization["']?+\s*+[:=,]\s*+(?:b(?=["']))?+["']?+)"""
    r"""(?>(?:(bearer|basic|token|digest)\s+)?)(?!\[redacted)[^\s"',}\])]+"""
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{6,}")
_ASSIGNED = re.compile(
    r"""(?i)\b(password|passwd|secret|api[_-]?key)(["']?\s*[:=]\s*["']?)(?!\[redacted)[^\s"',}&]+"""
)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")
# From here to the end of the text stands what somebody wrote: a body, a chat, a value that failed validation.
_CONTENT = re.compile(
    r"""["'](?:messages|prompt|prompts|content|input|inputs|text|arguments|completion|delta)["']\s*[:=]"""
    r"|\b(?:messages|prompt|input_value|input)=(?=['\"\[{])"
    r"|Failing row contains"
    r"|Key \([^)]*\)=\(",
)


def redact_text(text: str) -> str:
    """`text` with keys, credentials and content masked, and cut to a bounded length."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    found = _CONTENT.search(text)
    if found:
        text = f"{text[: found.end()]} {MASK}"
    text = _AUTHORIZATION.sub(lambda m: f"{m[1]}{m[2] + ' ' if m[2] else ''}{MASK}", text)
    text = _OUR_KEY.sub(lambda m: f"atr-{m[1] or ''}{MASK}", text)
    text = _SCHEME.sub(lambda m: f"{m[1]} {MASK}", text)
    text = _OTHER_KEY.sub(lambda m: f"{m[1]}-{MASK}", text)
    text = _ASSIGNED.sub(lambda m: f"{m[1]}{m[2]}{MASK}", text)
    return _URL_PASSWORD.sub(lambda m: f"{m[1]}:{MASK}@", text)


def is_secret_field(name: str) -> bool:
    """True for a field whose value must not be logged."""
    plain = name.lower().replace("-", "_")
    return plain in _SECRET_FIELDS or plain.endswith(_SECRET_ENDINGS)


def redact(value: Any, *, depth: int = 0) -> Any:
    """A copy of `value` that JSON can hold, with everything secret masked. Never raises."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(name): MASK if is_secret_field(str(name)) and item else redact(item, depth=depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item, depth=depth + 1) for item in list(value)[:100]]
    return redact_text(_shown(value))


def _shown(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    try:
        return str(value)
    except Exception:  # a broken __str__ must not cost the line
        return f"<{type(value).__name__}>"

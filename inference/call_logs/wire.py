"""What travels from a web process to the jobs worker about one request. Redacted and sealed before it gets here."""

from __future__ import annotations

from typing import Any

import msgspec

from safety.spec import Verdict


class CallNote(msgspec.Struct, omit_defaults=True):
    """One request as its web process saw it. Field names are those of `CallLog`; times in ms since 1970."""

    request_id: str
    tenant_id: str
    started_ms: int
    finished_ms: int
    outcome: str
    route: str = ""
    key_id: str | None = None
    user_id: str | None = None
    address: str = ""
    user_agent: str = ""
    model: str = ""
    version_id: str | None = None
    deployment_id: str | None = None
    replica: str = ""
    stream: bool = False
    parameters: dict[str, Any] = {}
    prompt_summary: str = ""
    response_summary: str = ""
    prompt_chars: int = 0
    response_chars: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_ms: int = 0
    first_token_ms: int | None = None
    duration_ms: int = 0
    verdicts: list[Verdict] = []
    status: int = 0
    error_code: str = ""
    limit_name: str = ""
    finish_reason: str = ""
    trace_id: str = ""
    end_user: str = ""
    tags: dict[str, str] = {}
    # The full text, sealed, in base64; and the data key that opens it
    data_key_id: str | None = None
    content: str = ""


class FullText(msgspec.Struct, omit_defaults=True):
    """What is sealed."""

    prompt: str = ""
    response: str = ""
    is_cut: bool = False


_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(FullText).decode


def encode_note(note: CallNote) -> bytes:
    """As JSON."""
    return _encode(note)


def decode_note(data: bytes) -> dict[str, Any]:
    """As the dictionary that `ingestion.store` takes. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=dict[str, Any])


def encode_text(text: FullText) -> bytes:
    """For sealing."""
    return _encode(text)


def decode_text(data: bytes) -> FullText:
    """Once it is open. Raises msgspec.DecodeError."""
    return _decode_text(data)

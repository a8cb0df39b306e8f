"""The OpenAI wire format as engines write it: ids, chunks, usage and error bodies, encoded once where they
repeat."""

from __future__ import annotations

from typing import Any

import msgspec

from core import clock
from inference.worker.port import EngineRequest, Failure, Kind

encode = msgspec.json.encode

_ID_PREFIX: dict[Kind, str] = {"chat": "chatcmpl-", "completion": "cmpl-", "embedding": "embd-"}
_OBJECT: dict[Kind, str] = {"chat": "chat.completion", "completion": "text_completion", "embedding": "list"}


def answer_id(request: EngineRequest) -> str:
    """The `id` of the answer. It follows from the request's id alone, so that a stream which goes on from
    another replica keeps it."""
    return _ID_PREFIX[request.kind] + request.id


def include_usage(body: dict[str, Any]) -> bool:
    """Whether the client asked for a chunk with the usage at the end of the stream."""
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def token_limit(body: dict[str, Any]) -> int | None:
    """How many tokens each choice may have at most, if the request says so."""
    limit = body.get("max_completion_tokens")
    if limit is None:
        limit = body.get("max_tokens")
    return None if limit is None else int(limit)


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> dict[str, Any]:
    """The OpenAI `usage` object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def failure(status: int, message: str, *, code: str, param: str | None = None, **extra: Any) -> Failure:
    """A Failure with an OpenAI error body. `extra` joins the error object, e.g. retry_after (seconds)."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return Failure(
        status, encode({"error": {"message": message, "type": kind, "param": param, "code": code, **extra}})
    )


class StreamFrames:
    """The parts of one stream's chunks that stay the same, encoded once.

    A content chunk is `head + escaped text + tail`, where the text is JSON-escaped without its quotes.
    """

    __slots__ = ("_chat", "_choice_end", "_opening", "_usage_null")

    def __init__(self, request: EngineRequest) -> None:
        self._chat = request.kind == "chat"
        opening = encode(
            {
                "id": answer_id(request),
                "object": "chat.completion.chunk" if self._chat else "text_completion",
                "created": clock.epoch_ms() // 1000,
                "model": request.body.get("model"),
                "choices": [],
            }
        )
        self._opening = opening[:-2]
        # OpenAI carries "usage": null on every chunk but the last when usage was asked for.
        self._usage_null = b',"usage":null' if include_usage(request.body) else b""
        self._choice_end = b"]" + self._usage_null + b"}"

    def content(self, index: int) -> tuple[bytes, bytes]:
        """Head and tail of the content chunks of one choice."""
        start = self._opening + b'{"index":%d,' % index
        end = b'"logprobs":null,"finish_reason":null}' + self._choice_end
        if self._chat:
            return start + b'"delta":{"content":"', b'"},' + end
        return start + b'"text":"', b'",' + end

    def role(self, index: int) -> bytes:
        """The chunk that opens a choice of a chat."""
        return b"".join(
            (
                self._opening,
                b'{"index":%d,"delta":{"role":"assistant","content":""},' % index,
                b'"logprobs":null,"finish_reason":null}',
                self._choice_end,
            )
        )

    def finish(self, index: int, reason: str) -> bytes:
        """The chunk that ends a choice."""
        part = b'"delta":{}' if self._chat else b'"text":""'
        return b"".join(
            (
                self._opening,
                b'{"index":%d,%s,"logprobs":null,"finish_reason":%s}' % (index, part, encode(reason)),
                self._choice_end,
            )
        )

    def usage(self, figures: dict[str, Any]) -> bytes:
        """The last chunk: no choices, only the usage."""
        return self._opening + b'],"usage":' + encode(figures) + b"}"


def completed(request: EngineRequest, choices: list[dict[str, Any]], figures: dict[str, Any]) -> bytes:
    """The whole answer of a chat or a completion that does not stream."""
    return encode(
        {
            "id": answer_id(request),
            "object": _OBJECT[request.kind],
            "created": clock.epoch_ms() // 1000,
            "model": request.body.get("model"),
            "choices": choices,
            "usage": figures,
        }
    )


def embedded(
    request: EngineRequest, vectors: list[Any], prompt_tokens: int, *, estimated: bool = False
) -> bytes:
    """The whole answer to an embedding request; `vectors` as floats, or each already in base64. `estimated`
    marks a count that is only a lower bound."""
    figures: dict[str, Any] = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    if estimated:
        figures["estimated"] = True
    return encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(vectors)
            ],
            "model": request.body.get("model"),
            "usage": figures,
        }
    )

"""Between our wire and the one of a server elsewhere: what is sent, what comes back, what is counted."""

from __future__ import annotations

import base64
import binascii
from array import array
from typing import Any, Literal

import msgspec

from core import clock
from inference.worker.engines import wire
from inference.worker.engines.remote_errors import ErrorTranslator, Refused, cut, malformed
from inference.worker.port import EngineRequest, Meter

Dialect = Literal["openai", "vllm"]

_SAMPLING = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "max_completion_tokens", "n",
    "presence_penalty", "response_format", "seed", "stop", "stream", "temperature", "top_p",
})  # fmt: skip
_FIELDS = {
    "chat": _SAMPLING | {
        "messages", "parallel_tool_calls", "reasoning_effort", "tool_choice", "tools", "top_logprobs",
        "verbosity",
    },
    "completion": _SAMPLING - {"max_completion_tokens", "response_format"} | {"echo", "prompt", "suffix"},
    "embedding": frozenset({"dimensions", "encoding_format", "input"}),
}  # fmt: skip
# What servers of the vLLM family (vLLM, SGLang) take beyond OpenAI's fields.
_VLLM_FIELDS = frozenset({
    "bad_words", "chat_template_kwargs", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
    "min_p", "min_tokens", "repetition_penalty", "response_format", "skip_special_tokens",
    "spaces_between_special_tokens", "stop_token_ids", "structured_outputs", "top_k",
})  # fmt: skip
# SECURITY: a cache salt or a priority of ours means nothing elsewhere, and one of the client's is never
# obeyed (L5); the others would let a client name its request or its person to a third party.
NEVER_SENT = frozenset({
    "cache_salt", "metadata", "model", "priority", "request_id", "service_tier", "store", "stream_options",
    "user",
})  # fmt: skip

_MAX_COUNT = 2**31


def allowed_fields(kind: str, dialect: Dialect, extra: list[str]) -> frozenset[str]:
    """The fields of the client's body that the server is to see."""
    fields = _FIELDS[kind] | frozenset(extra)
    if dialect == "vllm" and kind != "embedding":
        fields |= _VLLM_FIELDS
    return fields - NEVER_SENT


def outgoing_body(
    request: EngineRequest,
    *,
    model: str,
    fields: frozenset[str],
    limit_field: str,
    dialect: Dialect,
    ask_usage: bool,
) -> dict[str, Any]:
    """The body as the server gets it: its own model name, the fields that it knows, one bound on the
    tokens."""
    body = {name: value for name, value in request.body.items() if name in fields and value is not None}
    body["model"] = model
    if request.kind == "embedding":
        return body
    limit = wire.token_limit(request.body)
    body.pop("max_completion_tokens", None)
    body.pop("max_tokens", None)
    if limit is not None:
        body[limit_field if request.kind == "chat" else "max_tokens"] = limit
    body["stream"] = request.stream
    if request.stream and ask_usage:
        # Usage on every chunk keeps the meter exact when the client leaves; only the vLLM family has it.
        continuous = {"continuous_usage_stats": True} if dialect == "vllm" else {}
        body["stream_options"] = {"include_usage": True, **continuous}
    return body


def decoded(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises Refused."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed() from error
    if not isinstance(value, dict):
        raise malformed()
    return value


# --- Counting -----------------------------------------------------------------------------------------------


def read_usage(value: Any) -> dict[str, Any] | None:
    """The server's usage as our usage object, or None when it sent none that makes sense."""
    if not isinstance(value, dict):
        return None
    prompt = _count(value.get("prompt_tokens"))
    completion = _count(value.get("completion_tokens", 0) or 0)
    if prompt is None or completion is None:
        return None
    details = value.get("prompt_tokens_details")
    cached = (_count(details.get("cached_tokens")) if isinstance(details, dict) else 0) or 0
    figures = wire.usage(prompt, completion, min(cached, prompt))
    details = value.get("completion_tokens_details")
    reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    if reasoning is not None:
        figures["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return figures


def _count(value: Any) -> int | None:
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None
    )


def note_usage(meter: Meter, figures: dict[str, Any]) -> None:
    """Carry a usage object of ours into the meter."""
    meter.prompt_tokens = figures["prompt_tokens"]
    meter.completion_tokens = figures["completion_tokens"]
    meter.cached_tokens = figures["prompt_tokens_details"]["cached_tokens"]


def estimated_usage(meter: Meter) -> dict[str, Any]:
    """The usage that could be seen when the server gave none; a lower bound, and marked as an estimate."""
    return {**wire.usage(meter.prompt_tokens, meter.completion_tokens), "estimated": True}


def least_prompt_tokens(body: dict[str, Any]) -> int:
    """A lower bound on the tokens of the prompt: its token ids, or its words (no tokenizer merges across
    spaces)."""
    for name in ("messages", "prompt", "input"):
        if name in body:
            return max(1, _least_tokens(body[name]))
    return 0


def _least_tokens(value: Any) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(1 if isinstance(item, int) else _least_tokens(item) for item in value)
    if isinstance(value, dict):
        return _least_tokens(value.get("content")) + _least_tokens(value.get("text"))
    return 0


# --- Answers ------------------------------------------------------------------------------------------------


class StreamRewriter:
    """One stream on its way to the client: ids and model names ours, usage ours to give, the meter kept.

    Raises Refused on what is not a chunk, and on an error that the server sends in the stream.
    """

    def __init__(
        self, request: EngineRequest, *, choices: int, translate: ErrorTranslator, model: str
    ) -> None:
        self._request = request
        self._choices = choices
        self._translate = translate
        self._chat = request.kind == "chat"
        self._asked = wire.include_usage(request.body)
        self._frame = {
            "id": wire.answer_id(request),
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": clock.epoch_ms() // 1000,
            "model": model,
        }
        self._opened: set[int] = set()
        self._finished: set[int] = set()
        self._usage: dict[str, Any] | None = None
        self._running: dict[int, tuple[int, int]] = {}  # choice → prompt, completion tokens so far

    @property
    def complete(self) -> bool:
        """Whether every choice has ended."""
        return len(self._finished) == self._choices

    @property
    def exact(self) -> bool:
        """Whether the meter comes from the server's own figures."""
        return self._usage is not None or bool(self._running)

    def chunk(self, data: bytes) -> bytes | None:
        """The client's chunk for one of the server's, or None when the client is to see nothing of it."""
        received = decoded(data)
        if received.get("error") or received.get("object") == "error":
            raise Refused(self._translate.error_in_stream(received, str(self._frame["model"])))
        choices = received.get("choices")
        figures = read_usage(received.get("usage"))
        if not isinstance(choices, list) and figures is None:
            raise malformed()
        kept = [choice for choice in choices or () if self._keep(choice)]
        self._count(choices or [], figures)
        if not kept:
            return None
        meter = self._request.meter
        if meter.first_token_at is None and meter.completion_tokens:
            meter.first_token_at = clock.monotonic()
        chunk: dict[str, Any] = {**self._frame, "choices": kept}
        if self._asked:
            chunk["usage"] = None
        return wire.encode(chunk)

    def end(self, *, said_done: bool) -> list[bytes]:
        """The chunks that close the stream. Raises Refused when the answer is not whole."""
        if not self._opened or not (self.complete or said_done):
            raise cut()
        closing = []
        for index in sorted(self._opened - self._finished):
            # The server said that it is done without saying why; a client is owed a reason for each choice.
            part: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
            choice = {"index": index, **part, "logprobs": None, "finish_reason": "stop"}
            closing.append(wire.encode({**self._frame, "choices": [choice]}))
            self._request.meter.finish_reason = "stop"
        if self._asked:
            figures = self._usage
            if figures is None:
                meter = self._request.meter
                figures = estimated_usage(meter)
                if self.exact:
                    figures = wire.usage(meter.prompt_tokens, meter.completion_tokens)
            closing.append(wire.encode({**self._frame, "choices": [], "usage": figures}))
        return closing

    def _keep(self, choice: Any) -> bool:
        """Check and note one choice of a chunk; False when nothing of it is for the client."""
        if not isinstance(choice, dict):
            raise malformed()
        index = choice.setdefault("index", 0)
        if not isinstance(index, int) or not 0 <= index < self._choices:
            raise malformed()
        if self._chat:
            delta = choice.get("delta")
            if delta is None:
                delta = choice["delta"] = {}
            if not isinstance(delta, dict):
                raise malformed()
            if index not in self._opened:
                delta.setdefault("role", "assistant")
        elif not isinstance(choice.setdefault("text", ""), str):
            raise malformed()
        if index in self._finished:
            return False
        self._opened.add(index)
        reason = choice.setdefault("finish_reason", None)
        if reason is not None:
            self._finished.add(index)
            self._request.meter.finish_reason = str(reason)
        return True

    def _count(self, choices: list[dict[str, Any]], figures: dict[str, Any] | None) -> None:
        meter = self._request.meter
        if figures is not None and (not choices or (self._choices == 1 and self.complete)):
            self._usage = figures
            note_usage(meter, figures)
        elif figures is not None and len(choices) == 1:
            self._count_running(choices[0]["index"], figures)
        elif not self.exact:
            meter.completion_tokens += sum(1 for choice in choices if self._has_content(choice))

    def _count_running(self, index: int, figures: dict[str, Any]) -> None:
        """Usage on a chunk with content: so far, and of that choice alone (as vLLM and SGLang count)."""
        self._running[index] = (figures["prompt_tokens"], figures["completion_tokens"])
        meter = self._request.meter
        count = int(self._request.body.get("n") or 1)
        prompts = {choice // count: prompt for choice, (prompt, _) in self._running.items()}
        meter.prompt_tokens = sum(prompts.values())
        meter.completion_tokens = sum(completion for _, completion in self._running.values())

    def _has_content(self, choice: dict[str, Any]) -> bool:
        if not self._chat:
            return bool(choice.get("text"))
        return any(value for name, value in choice["delta"].items() if name != "role")


def whole_answer(request: EngineRequest, received: dict[str, Any]) -> tuple[bytes, bool]:
    """The client's answer for the server's, and whether its usage is the server's own; sets the meter."""
    choices = received.get("choices")
    part = "message" if request.kind == "chat" else "text"
    if not isinstance(choices, list) or not choices:
        raise malformed()
    words = 0
    for index, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(
            choice.get(part), dict if part == "message" else str
        ):
            raise malformed()
        choice.setdefault("index", index)
        request.meter.finish_reason = str(choice.setdefault("finish_reason", "stop"))
        words += max(1, _least_tokens(choice[part]))
    figures = read_usage(received.get("usage"))
    exact = figures is not None
    meter = request.meter
    if figures is None:
        meter.completion_tokens = words
        figures = estimated_usage(meter)
    else:
        note_usage(meter, figures)
    return wire.completed(request, choices, figures), exact


def embeddings(request: EngineRequest, received: dict[str, Any]) -> tuple[bytes, bool]:
    """The client's embeddings, in the encoding that it asked for whatever the server sent; sets the meter."""
    data = received.get("data")
    if not isinstance(data, list) or not data:
        raise malformed()
    packed = request.body.get("encoding_format") == "base64"
    vectors: list[Any] = [None] * len(data)
    for place, entry in enumerate(data):
        index = entry.get("index", place) if isinstance(entry, dict) else None
        if not isinstance(index, int) or not 0 <= index < len(data) or vectors[index] is not None:
            raise malformed()
        vectors[index] = _encoded(entry.get("embedding"), packed)
    figures = read_usage(received.get("usage"))
    meter = request.meter
    if figures is not None:
        note_usage(meter, figures)
    meter.finish_reason = "stop"
    payload = wire.embedded(request, vectors, meter.prompt_tokens, estimated=figures is None)
    return payload, figures is not None


def _encoded(vector: Any, packed: bool) -> str | list[float]:
    try:
        if isinstance(vector, list):
            numbers = array("f", vector)  # refuses what is not a number
            return base64.b64encode(numbers.tobytes()).decode() if packed else vector
        if isinstance(vector, str):
            return vector if packed else array("f", base64.b64decode(vector, validate=True)).tolist()
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise malformed() from error
    raise malformed()

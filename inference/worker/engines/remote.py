"""RemoteEngine: any OpenAI-compatible server elsewhere (vllm serve, SGLang, Ollama, a provider) behind the
port.

The server sees its own model name, the platform's credential and the fields that it knows; the client sees
the public name and never who answered. Nothing of a request is kept or logged beyond its id and the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Literal

import httpx
import msgspec
import structlog

from core import clock
from inference.worker.engines import remote_wire, wire
from inference.worker.engines.remote_errors import ErrorTranslator, Refused, cut, malformed, timed_out
from inference.worker.engines.sse import EventTooLarge, SSEParser
from inference.worker.engines.transport import AddressRefused, PinnedTransport
from inference.worker.port import (
    Chunk,
    Counters,
    EngineDead,
    EngineRequest,
    Event,
    Failure,
    Result,
    express_of,
)
from models_registry.addresses import Network, parse_networks

log = structlog.get_logger(__name__)

_PATHS = {"chat": "/chat/completions", "completion": "/completions", "embedding": "/embeddings"}
_MAX_ERROR_BYTES = 64 * 1024
# After the last event a server still owes the end of its body; with it the connection can be used again.
_DRAIN_S = 0.1
_HEALTH_MISSES = 3

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Size = Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)]


class RemoteArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to speak with the server. Times in seconds."""

    capacity: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64  # requests at once, a connection each
    max_connections: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0  # 0: one per request, one for health
    supports_embeddings: bool = True
    connect_timeout_s: _Seconds = 5.0
    idle_timeout_s: _Seconds = 60.0  # between two pieces of a stream
    timeout_s: _Seconds = 600.0  # for a whole request
    health_interval_s: _Seconds = 30.0
    # vllm (also SGLang): its own fields besides OpenAI's, and usage on every chunk.
    dialect: remote_wire.Dialect = "openai"
    extra_fields: Annotated[str, msgspec.Meta(max_length=1000)] = ""  # others that it knows, by commas
    # Every compatible server knows max_tokens; some of OpenAI's own models refuse it. Both at once is an
    # error there.
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    ask_usage: bool = True  # off for servers that refuse stream_options
    max_event_bytes: _Size = 1 << 20
    max_response_bytes: _Size = 64 << 20


def parse_base_url(text: str) -> httpx.URL:
    """The server's address, such as https://host:8000/v1. Raises ValueError with a sentence that says what is
    wrong."""
    try:
        url = httpx.URL(text.rstrip("/"))
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError("The address of the remote server is not a URL.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            "The address of the remote server must begin with http:// or https:// and name a host."
        )
    if url.userinfo or url.query or url.fragment:
        raise ValueError("The address of the remote server may hold no user name, query or fragment.")
    return url


class RemoteEngine:
    """The engine port over HTTP/1.1. `networks` (CIDR) are the private ones that it may reach; public servers
    are reached over TLS only. Raises ValueError when the configuration makes no sense."""

    can_resume = False

    def __init__(
        self,
        base_url: str,
        remote_model: str,
        credential: str,
        args: dict[str, Any],
        *,
        networks: Sequence[str] = (),
    ) -> None:
        try:
            self.args = msgspec.convert(args, RemoteArgs)
        except msgspec.ValidationError as error:
            raise ValueError(f"Arguments of the remote engine: {error}.") from error
        self._url = parse_base_url(base_url)
        if not remote_model:
            raise ValueError("The remote engine needs the name that the model has on its server.")
        # Checked here, because the HTTP library would quote the value in its complaint.
        if credential and not (credential.isascii() and credential.isprintable() and " " not in credential):
            raise ValueError("The credential of the remote server has characters that no header may carry.")
        self.capacity = self.args.capacity
        self.express = express_of(self.capacity)
        self.prefill_tokens = 0
        self._model = remote_model
        self._credential = credential
        self._networks: tuple[Network, ...] = parse_networks(networks)
        self._errors = ErrorTranslator(
            secrets=[credential, base_url, self._url.host, f"{self._url.host}:{self._url.port}"],
            remote_model=remote_model,
        )
        extra = [name.strip() for name in self.args.extra_fields.split(",") if name.strip()]
        self._fields = {kind: remote_wire.allowed_fields(kind, self.args.dialect, extra) for kind in _PATHS}
        self._client: httpx.AsyncClient | None = None
        self._counters = Counters()
        self._busy_since: float | None = None
        self._probed_at = 0.0
        self._misses = 0
        self.estimated = 0  # requests whose counts are a lower bound, because the server gave none

    async def start(self) -> None:
        """Ask the server for its models. Raises RuntimeError when it cannot be reached or refuses the
        credential; one that has no list of models is taken at its word."""
        headers = {"accept-encoding": "identity", "user-agent": "atrium"}
        if self._credential:
            headers["authorization"] = f"Bearer {self._credential}"
        secure = self._url.scheme == "https"
        connections = self.args.max_connections or self.capacity + self.express + 1
        transport = PinnedTransport(secure=secure, networks=self._networks, connections=connections)
        self._client = httpx.AsyncClient(
            transport=transport, headers=headers, follow_redirects=False, trust_env=False
        )
        try:
            status = await self._probe()
        except AddressRefused as error:
            await self.close()
            advice = "Public servers need https; private ones stand in ATRIUM_REMOTE_ENGINE_NETWORKS."
            raise RuntimeError(f"{error} {advice}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            await self.close()
            raise RuntimeError(f"The remote server cannot be reached ({type(error).__name__}).") from error
        if status in (401, 403):
            await self.close()
            raise RuntimeError("The remote server refuses the credential.")

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """See the port. One connection per request; closing the iterator closes the connection at once."""
        if self._client is None:
            raise EngineDead("The remote engine is not running.")
        request.meter.prompt_tokens = remote_wire.least_prompt_tokens(request.body)
        self._enter()
        ended = False
        try:
            try:
                if request.kind == "embedding" and not self.args.supports_embeddings:
                    message = "This model does not make embeddings."
                    raise Refused(wire.failure(400, message, code="unsupported_operation", param="model"))
                answer = self._stream(request) if request.stream else self._whole(request)
                async with aclosing(answer):
                    async for event in answer:
                        yield event
            except Refused as refused:
                log.warning("remote.request_failed", request_id=request.id, status=refused.failure.status)
                yield refused.failure
            ended = True
        finally:
            self._leave(request, ended)

    async def settle(self, request: EngineRequest) -> None:
        """Nothing to wait for. Another server's engine time is unknown, so none is charged."""

    async def check_health(self) -> None:
        """Raises EngineDead when the server could not be reached three times in a row. Asks it at most once
        per `health_interval_s`; an answer to any request counts."""
        if self._client is None:
            raise EngineDead("The remote engine is not running.")
        now = clock.monotonic()
        if now - self._probed_at >= self.args.health_interval_s:
            self._probed_at = now
            try:
                await self._probe()
            except (httpx.HTTPError, TimeoutError, AddressRefused):
                self._misses += 1
        if self._misses >= _HEALTH_MISSES:
            raise EngineDead("The remote server cannot be reached.")

    def counters(self) -> Counters:
        """Figures so far; tokens are added when a request ends. Busy is the time with at least one request
        open."""
        figures = self._counters
        busy = figures.busy_s
        if self._busy_since is not None:
            busy += clock.monotonic() - self._busy_since
        return Counters(
            running=figures.running,
            prompt_tokens=figures.prompt_tokens,
            completion_tokens=figures.completion_tokens,
            aborted=figures.aborted,
            busy_s=busy,
        )

    async def close(self) -> None:
        """Close every connection; what still runs ends with a failure."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.aclose()
            except Exception:
                log.exception("remote.close_failed")

    # --- Counting -------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        self._counters.running += 1
        if self._busy_since is None:
            self._busy_since = clock.monotonic()

    def _leave(self, request: EngineRequest, ended: bool) -> None:
        figures = self._counters
        figures.running -= 1
        figures.aborted += not ended
        figures.prompt_tokens += request.meter.prompt_tokens
        figures.completion_tokens += request.meter.completion_tokens
        if not figures.running and self._busy_since is not None:
            figures.busy_s += clock.monotonic() - self._busy_since
            self._busy_since = None

    def _note_estimate(self, request: EngineRequest) -> None:
        self.estimated += 1
        log.info("remote.usage_missing", request_id=request.id)

    # --- HTTP -----------------------------------------------------------------------------------------------

    async def _probe(self) -> int:
        """The status of the server's list of models."""
        assert self._client is not None  # noqa: S101 - callers checked; for the type checker
        async with (
            asyncio.timeout(2 * self.args.connect_timeout_s),
            self._client.stream(
                "GET", f"{self._url}/models", timeout=httpx.Timeout(self.args.connect_timeout_s)
            ) as response,
        ):
            self._misses = 0
            self._probed_at = clock.monotonic()
            return response.status_code

    @asynccontextmanager
    async def _answer(self, request: EngineRequest, deadline: float) -> AsyncIterator[httpx.Response]:
        """The server's answer with status 200, its body still to be read. Raises Refused, also from what the
        body of the `with` meets while reading."""
        body = remote_wire.outgoing_body(
            request,
            model=self._model,
            fields=self._fields[request.kind],
            limit_field=self.args.limit_field,
            dialect=self.args.dialect,
            ask_usage=self.args.ask_usage,
        )
        response = None
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send(request, wire.encode(body))
                if response.status_code != 200:
                    raise Refused(await self._refusal(request, response))
            if response.headers.get("content-encoding", "identity") != "identity":
                raise malformed()  # nothing else was asked for, and what unpacks cannot be bounded
            yield response
        except (httpx.TimeoutException, TimeoutError) as error:
            raise timed_out() from error
        except AddressRefused as error:
            message = "The model's server is not one that the platform may speak to."
            raise Refused(wire.failure(502, message, code="upstream_address_refused")) from error
        except httpx.TransportError as error:
            if self._client is None:
                raise EngineDead("The remote engine has been closed.") from error
            if response is None:
                message = "The model's server cannot be reached."
                raise Refused(wire.failure(502, message, code="upstream_unreachable")) from error
            raise cut() from error
        finally:
            if response is not None:
                await response.aclose()

    async def _send(self, request: EngineRequest, content: bytes) -> httpx.Response:
        """Send, and once more when the connection broke before the first byte of an answer: a pooled
        connection that the server has just closed looks like that."""
        if self._client is None:
            raise EngineDead("The remote engine has been closed.")
        args = self.args
        # Without a stream the server is silent until the answer is whole.
        read = args.idle_timeout_s if request.stream else args.timeout_s
        timeout = httpx.Timeout(
            connect=args.connect_timeout_s, read=read, write=args.idle_timeout_s, pool=args.connect_timeout_s
        )
        outgoing = self._client.build_request(
            "POST",
            f"{self._url}{_PATHS[request.kind]}",
            content=content,
            headers={"content-type": "application/json"},
            timeout=timeout,
        )
        try:
            response = await self._client.send(outgoing, stream=True)
        except httpx.TransportError as error:
            if not _before_first_byte(error):
                raise
            response = await self._client.send(outgoing, stream=True)
        self._misses = 0
        self._probed_at = clock.monotonic()
        return response

    async def _refusal(self, request: EngineRequest, response: httpx.Response) -> Failure:
        body = b""
        if response.headers.get("content-encoding", "identity") == "identity":
            try:
                body = await self._read(response, _MAX_ERROR_BYTES)
            except (httpx.HTTPError, Refused):
                body = b""
        retry_after = response.headers.get("retry-after")
        return self._errors.response(
            response.status_code, retry_after, body, str(request.body.get("model") or "")
        )

    async def _read(self, response: httpx.Response, limit: int) -> bytes:
        """The whole body. Raises Refused when it is larger than `limit` bytes."""
        body = bytearray()
        async with aclosing(_pieces(response)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise malformed()
        return bytes(body)

    # --- Answers --------------------------------------------------------------------------------------------

    async def _whole(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        deadline = asyncio.get_running_loop().time() + self.args.timeout_s
        async with self._answer(request, deadline) as response:
            async with asyncio.timeout_at(deadline):
                received = remote_wire.decoded(await self._read(response, self.args.max_response_bytes))
            request.meter.first_token_at = clock.monotonic()
            translate = remote_wire.embeddings if request.kind == "embedding" else remote_wire.whole_answer
            if received.get("error"):
                raise Refused(self._errors.error_in_stream(received, str(request.body.get("model") or "")))
            payload, exact = translate(request, received)
            if not exact:
                self._note_estimate(request)
        yield Result(payload)

    async def _stream(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.args.timeout_s
        rewriter = remote_wire.StreamRewriter(
            request,
            choices=_choices(request),
            translate=self._errors,
            model=str(request.body.get("model") or ""),
        )
        parser = SSEParser(self.args.max_event_bytes)
        done = False
        async with self._answer(request, deadline) as response, aclosing(_pieces(response)) as pieces:
            while not done:
                async with asyncio.timeout_at(deadline):
                    piece = await anext(pieces, b"")
                try:
                    for event in parser.feed(piece) if piece else parser.close():
                        if event.data == b"[DONE]":
                            done = True
                            break
                        payload = rewriter.chunk(event.data)
                        if payload is not None:
                            yield Chunk(payload)
                except EventTooLarge as error:
                    raise malformed() from error
                if not piece:
                    break
            closing = rewriter.end(said_done=done)
            if not rewriter.exact:
                self._note_estimate(request)
            for payload in closing:
                yield Chunk(payload)
            if done:
                await _drain(pieces)


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it arrives."""
    async for piece in response.aiter_raw():
        yield piece


def _before_first_byte(error: httpx.TransportError) -> bool:
    """Whether the connection broke before the server said anything."""
    if isinstance(error, httpx.RemoteProtocolError):
        return "without sending a response" in str(error)
    return isinstance(error, httpx.ConnectError | httpx.ReadError | httpx.WriteError)


def _choices(request: EngineRequest) -> int:
    """How many choices the answer has: `n` for each prompt."""
    prompt = request.body.get("prompt") if request.kind == "completion" else None
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return prompts * int(request.body.get("n") or 1)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read the end of the body, so that the connection can serve again; a server that has more to say is
    left."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            await anext(pieces, None)
            await anext(pieces, None)
    except (TimeoutError, httpx.HTTPError):
        return

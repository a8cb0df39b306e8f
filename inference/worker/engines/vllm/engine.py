"""`VllmEngine`: one vLLM `AsyncLLM` in this process, served through vLLM's own OpenAI classes.

vLLM renders chat templates, parses tool calls and reasoning, builds chunks and checks parameters; none of that is
rewritten here (design: data plane §6). Versions: 0.32 on CPU, 0.33 and later on NVIDIA.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog
from pydantic import ValidationError

from inference.worker.engines.vllm import startup
from inference.worker.port import (
    Chunk,
    Counters,
    EngineDead,
    EngineRequest,
    Event,
    Failure,
    Meter,
    Result,
    express_of,
)

log = structlog.get_logger(__name__)

# The public name that the answer of the running task must carry.
_public_name: ContextVar[str] = ContextVar("public_name", default="the model")
# The folder of its model, which no message may tell.
_path: ContextVar[str] = ContextVar("path", default="")
# What vLLM's own cleaning leaves of a path: "/data<path>", with a time and a line where a library logs.
_PATH = re.compile(r"(?:/[\w.@-]+)*<path>(?:/[\w.@-]+)*")
_SOURCE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class VllmEngine:
    """One replica's engine. `path` is a verified model folder, `arguments` the deployment's engine arguments."""

    can_resume = True

    def __init__(self, path: str, arguments: dict[str, Any]) -> None:
        self._path = path
        self._arguments = arguments
        self._counters = Counters()
        self.capacity = int(arguments.get("max_num_seqs", 64))
        self.express = express_of(self.capacity)
        self.prefill_tokens = 0  # known when the engine has started

    async def start(self) -> None:
        """Load the model and build the serving objects: seconds on a small model, minutes on a large one."""
        startup.prepare_environment()
        # AsyncLLM's constructor blocks until its engine process is ready; heartbeats must go on meanwhile.
        self._engine = await asyncio.to_thread(self._create)
        self._serve = await asyncio.to_thread(_Serving, self._engine, self._path, self._arguments)
        # What two steps can read: the engine is never short of work, and nobody waits longer than that inside it.
        self.prefill_tokens = 2 * int(self._engine.vllm_config.scheduler_config.max_num_batched_tokens)

    def _create(self) -> Any:
        from vllm.v1.engine.async_llm import AsyncLLM

        from inference.worker.engines.vllm.gpu_time import GpuTime
        from inference.worker.engines.vllm.metering import StepCounters

        startup.use_forkserver()
        counters, metered = self._counters, startup.can_meter()
        if not metered:
            log.error("vllm.gpu_time_unavailable")
        engine = AsyncLLM.from_engine_args(
            startup.engine_arguments(
                self._path, {**self._arguments, "max_num_seqs": self.capacity + self.express}
            ),
            stat_loggers=[lambda _config, _index=0: StepCounters(counters, busy=not metered)],
        )
        self._gpu_time = GpuTime(counters, _current_meter)
        if metered:
            self._gpu_time.attach(engine)
        return engine

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Serve one request (see the port). vLLM's own error texts and codes are passed on."""
        from vllm.v1.engine.exceptions import EngineDeadError

        from inference.worker.engines.vllm.client import Tap, current_tap

        tap = Tap(request)
        current_tap.set(tap)
        _public_name.set(request.body.get("model", ""))
        _path.set(self._path)
        stream: AsyncGenerator[str, None] | None = None
        try:
            answer = await self._serve.answer(request)
            if isinstance(answer, Failure | Result):
                tap.finished = True
                yield answer
                return
            stream = answer
            async for event in _events(stream, tap):
                if isinstance(event, Failure) and self._engine.errored:
                    raise EngineDead("the engine process has ended")
                yield event
            tap.finished = True
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error
        finally:
            if not tap.finished:
                self._counters.aborted += 1
            if stream is not None:
                await stream.aclose()
            await tap.close()

    async def settle(self, request: EngineRequest) -> None:
        """See the port."""
        await self._gpu_time.settle(request.meter)

    async def check_health(self) -> None:
        """Raises EngineDead when vLLM says that it has ended."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error

    def counters(self) -> Counters:
        """vLLM's own figures, as of its last step; `running` falls to zero as soon as nothing is left."""
        if not self._engine.output_processor.has_unfinished_requests():
            self._counters.running = 0
            self._counters.waiting = 0
        return self._counters

    async def close(self) -> None:
        """End vLLM and its processes."""
        engine = getattr(self, "_engine", None)
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)


def _current_meter() -> Meter | None:
    """The meter of the request that the running task serves."""
    from inference.worker.engines.vllm.client import current_tap

    tap = current_tap.get(None)
    return None if tap is None else tap.request.meter


async def _events(stream: AsyncGenerator[str, None], tap: Any) -> AsyncIterator[Event]:
    """vLLM's SSE lines as events; the framing goes, the tokens behind each chunk come with it."""
    async for line in stream:
        payload = line[6:-2]  # "data: …\n\n"
        if payload == "[DONE]":
            continue
        if payload.startswith('{"error"'):
            error = msgspec.json.decode(payload).get("error", {})
            code = error.get("code")
            yield _failure(code if isinstance(code, int) else 500, error)
            return
        yield Chunk(payload.encode(), tap.take())


def _failure(status: int, error: dict[str, Any]) -> Failure:
    """vLLM's error (`BadRequestError`, a number as code) in OpenAI's words (`invalid_request_error`)."""
    message = _cleaned(str(error.get("message", "The engine could not serve the request.")))
    if status >= 500:
        kind, code = "server_error", "engine_error"
    elif status == 404:
        kind, code = "invalid_request_error", "model_not_found"
    else:
        kind = "invalid_request_error"
        code = "context_length_exceeded" if "context length" in message else "invalid_value"
    body = {"error": {"message": message, "type": kind, "param": error.get("param"), "code": code}}
    return Failure(status, msgspec.json.encode(body))


def _cleaned(message: str) -> str:
    """vLLM's words without where the model lies on this machine and where in a library the error arose."""
    message = _SOURCE.sub("", message)
    path = _path.get()
    if path:
        message = message.replace(path, _public_name.get())
    return _PATH.sub(_public_name.get(), message)


class _Serving:
    """vLLM's serving classes for one engine, built once."""

    def __init__(self, engine: Any, path: str, arguments: dict[str, Any]) -> None:
        from vllm.entrypoints.openai.models.protocol import BaseModelPath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels

        from inference.worker.engines.vllm.client import TappedClient

        class PublicNames(OpenAIServingModels):
            """Answers carry the name that the tenant asked for: an alias, or the model's own."""

            def model_name(self, lora_request: Any = None) -> str:
                return _public_name.get()

            def is_base_model(self, model_name: str) -> bool:
                return True

        self._client = TappedClient(engine)
        self._models = PublicNames(self._client, [BaseModelPath(name="model", model_path=path)])
        self._arguments = arguments
        if arguments.get("runner") == "pooling":
            self._build_embedding()
        else:
            self._build_generation()

    def _build_generation(self) -> None:
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.renderers.online_renderer import OnlineRenderer

        tool_parser = self._arguments.get("tool_call_parser") or None
        shared: dict[str, Any] = {
            "request_logger": None,
            "chat_template": None,
            "chat_template_content_format": "auto",
            "trust_request_chat_template": False,
            "enable_auto_tools": tool_parser is not None,
            "tool_parser": tool_parser,
            "reasoning_parser": self._arguments.get("reasoning_parser", ""),
        }
        renderer = OnlineRenderer(
            model_config=self._client.model_config, renderer=self._client.renderer, **shared
        )
        renderer.warmup()
        self._chat = OpenAIServingChat(
            self._client,
            self._models,
            "assistant",
            online_renderer=renderer,
            enable_prompt_tokens_details=True,
            **shared,
        )
        self._completion = OpenAIServingCompletion(
            self._client,
            self._models,
            online_renderer=renderer,
            request_logger=None,
            enable_prompt_tokens_details=True,
        )

    def _build_embedding(self) -> None:
        from vllm.entrypoints.pooling.embed.serving import ServingEmbedding
        from vllm.renderers.chat_utils import ChatTemplateConfig

        self._embedding = ServingEmbedding(
            self._client,
            self._models,
            request_logger=None,
            chat_template_config=ChatTemplateConfig(
                chat_template=None, chat_template_content_format="auto", trust_request_chat_template=False
            ),
        )

    async def answer(self, request: EngineRequest) -> AsyncGenerator[str, None] | Result | Failure:
        """Hand the request to vLLM; a stream, the whole answer, or what was wrong with it."""
        from vllm.entrypoints.serve import create_error_response
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            answer = await self._dispatch(request)
        except (EngineDeadError, asyncio.CancelledError):
            raise
        except ValidationError as error:
            return _invalid(error)
        except Exception as error:
            answer = create_error_response(error)
            if answer.error.code >= 500:
                log.exception("vllm.request_failed", request_id=request.id)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # vLLM turns a cancellation into an error body ("Client disconnected"): cancelled is cancelled.
            raise asyncio.CancelledError
        if isinstance(answer, ErrorResponse):
            return _failure(int(answer.error.code), answer.error.model_dump())
        if isinstance(answer, bytes):
            return Result(answer)
        if hasattr(answer, "model_dump_json"):
            return Result(answer.model_dump_json(exclude_none=True).encode())
        return answer

    async def _dispatch(self, request: EngineRequest) -> Any:
        body = {**request.body, "request_id": request.id, "cache_salt": request.salt}
        body["priority"] = 0 if hasattr(self, "_embedding") else request.priority
        if request.kind == "chat" and hasattr(self, "_chat"):
            from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

            return await self._chat.create_chat_completion(ChatCompletionRequest(**_with_pinned_tools(body)))
        if request.kind == "completion" and hasattr(self, "_completion"):
            from vllm.entrypoints.openai.completion.protocol import CompletionRequest

            return await self._completion.create_completion(CompletionRequest(**body))
        if request.kind == "embedding" and hasattr(self, "_embedding"):
            from vllm.entrypoints.pooling.embed.protocol import EmbeddingCompletionRequest

            answer = await self._embedding(EmbeddingCompletionRequest(**body))
            return bytes(answer.body)
        raise ValueError(f"This model does not serve {request.kind} requests.")


def _with_pinned_tools(body: dict[str, Any]) -> dict[str, Any]:
    """A call that the client insists on keeps to the tool's schema, unless the tool says `strict: false`.

    vLLM holds only `strict: true` tools to their schemas; a small model then calls with what it likes.
    """
    if body.get("tool_choice") in (None, "none", "auto"):
        return body
    tools = [
        {**tool, "function": {**tool["function"], "strict": True}}
        if tool["function"].get("strict") is None
        else tool
        for tool in body.get("tools") or ()
    ]
    return {**body, "tools": tools}


def _invalid(error: ValidationError) -> Failure:
    """What pydantic says first, under the parameter's name alone: the rest of the path names vLLM's own types."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = str(first["loc"][0]) if first["loc"] else ""
    message = f"Invalid '{where}': {first['msg']}." if where else str(first["msg"])
    return _failure(400, {"message": message, "param": where or None})

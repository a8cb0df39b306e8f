"""vLLM's engine client as its serving classes see it, with a tap: what each request produces is metered, and
`forced` tokens are put in front, without the serving classes knowing."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from core import clock
from inference.worker.engines.vllm.forced import EXTRA_ARG
from inference.worker.port import EngineRequest, Meter

# The request that the running task serves; set by the engine, read when a serving class calls generate().
current_tap: ContextVar[Tap] = ContextVar("vllm_tap")


class Tap:
    """Collects what the engine produces for one request: fresh token ids for chunks, and the meter."""

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self._fresh: dict[int, list[int]] = {}
        self._generators: list[AsyncGenerator[Any, None]] = []
        self.finished = False

    def take(self) -> list[tuple[int, list[int]]]:
        """Token ids produced since the last call, per choice."""
        fresh, self._fresh = self._fresh, {}
        return list(fresh.items())

    def note(self, output: RequestOutput, *, first: bool) -> None:
        """Meter one output of the engine (a delta, or the whole when it does not stream).

        `first` of its prompt: a request may have several, and each counts once.
        """
        meter = self.request.meter
        if first:
            meter.prompt_tokens += len(output.prompt_token_ids or ())
        meter.cached_tokens = max(meter.cached_tokens, output.num_cached_tokens or 0)
        for choice in output.outputs:
            if choice.token_ids:
                if meter.first_token_at is None:
                    meter.first_token_at = clock.monotonic()
                meter.completion_tokens += len(choice.token_ids)
                self._fresh.setdefault(choice.index, []).extend(choice.token_ids)
            if choice.finish_reason:
                meter.finish_reason = choice.finish_reason

    def adopt(self, generator: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Remember a generator of the engine, to be closed with the request."""
        self._generators.append(generator)
        return generator

    async def close(self) -> None:
        """Close the engine's generators: vLLM aborts what still runs. Serving classes do not do it themselves."""
        for generator in self._generators:
            await generator.aclose()


class TappedClient:
    """Delegates everything to the AsyncLLM but generation, which passes through the request's tap."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **extra: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """As AsyncLLM.generate, metered."""
        tap = current_tap.get()
        forced = tap.request.forced
        if not any(forced):
            return tap.adopt(self._metered(tap, prompt, sampling_params, request_id, extra))
        if sampling_params.n == 1:
            params = _with_forced(sampling_params, forced[0])
            return tap.adopt(self._metered(tap, prompt, params, request_id, extra))
        return tap.adopt(self._choices(tap, prompt, sampling_params, request_id, extra))

    async def encode(self, *args: Any, **kwargs: Any) -> AsyncGenerator[PoolingRequestOutput, None]:
        """As AsyncLLM.encode, metered."""
        meter = current_tap.get().request.meter
        async for output in self._engine.encode(*args, **kwargs):
            if output.finished:
                meter.prompt_tokens += len(output.prompt_token_ids)
            yield output

    async def _metered(
        self, tap: Tap, prompt: Any, params: SamplingParams, request_id: str, extra: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        outputs = self._engine.generate(prompt, params, request_id, **extra)
        first = True
        try:
            if params.output_kind == RequestOutputKind.FINAL_ONLY:
                output = await self._whole(tap.request.meter, outputs, request_id)
                tap.note(output, first=True)
                yield output
            else:
                async for output in outputs:
                    tap.note(output, first=first)
                    first = False
                    yield output
        finally:
            await outputs.aclose()

    async def _whole(
        self, meter: Meter, outputs: AsyncGenerator[RequestOutput, None], request_id: str
    ) -> RequestOutput:
        """The one output of a request that does not stream; when cut short, what it had used until then."""
        waiting = asyncio.ensure_future(_last(outputs))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._read_states(meter, request_id)  # before vLLM forgets the request
            waiting.cancel()
            await asyncio.wait([waiting])
            raise

    def _read_states(self, meter: Meter, request_id: str) -> None:
        processor = self._engine.output_processor
        for internal in processor.external_req_ids.get(request_id, ()):
            state = processor.request_states.get(internal)
            if state is None:
                continue
            if state.request_index == 0:  # parallel choices share one prompt
                meter.prompt_tokens += state.prompt_len
            if state.stats is not None:
                meter.completion_tokens += state.stats.num_generation_tokens

    async def _choices(
        self, tap: Tap, prompt: Any, params: SamplingParams, request_id: str, extra: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        """`n` choices with forced prefixes of their own: as vLLM's parallel sampling does, one request each."""
        queue: asyncio.Queue[tuple[int, RequestOutput | BaseException | None]] = asyncio.Queue()

        async def one(index: int) -> None:
            child = copy.copy(params)
            child.n = 1
            if child.seed is not None:
                child.seed = child.seed + index
            forced = tap.request.forced[index] if index < len(tap.request.forced) else []
            outputs = self._metered_child(
                tap, prompt, _with_forced(child, forced), f"{request_id}-{index}", extra
            )
            try:
                async for output in outputs:
                    await queue.put((index, output))
                await queue.put((index, None))
            except Exception as error:
                await queue.put((index, error))
            finally:
                await outputs.aclose()

        tasks = [asyncio.create_task(one(index)) for index in range(params.n)]
        open_choices = params.n
        first = True
        try:
            while open_choices:
                index, item = await queue.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    open_choices -= 1
                    continue
                for choice in item.outputs:
                    choice.index = index
                tap.note(item, first=first)
                first = False
                yield item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _metered_child(
        self, tap: Tap, prompt: Any, params: SamplingParams, request_id: str, extra: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        outputs = self._engine.generate(prompt, params, request_id, **extra)
        try:
            async for output in outputs:
                yield output
        finally:
            await outputs.aclose()


async def _last(outputs: AsyncGenerator[RequestOutput, None]) -> RequestOutput:
    last: RequestOutput | None = None
    async for output in outputs:
        last = output
    if last is None:
        raise RuntimeError("the engine ended a request without an output")
    return last


def _with_forced(params: SamplingParams, forced: list[int]) -> SamplingParams:
    if not forced:
        return params
    params = copy.copy(params)
    params.extra_args = {**(params.extra_args or {}), EXTRA_ARG: list(forced)}
    return params

"""The replica's end of the step meter: reports out of vLLM's statistics, onto the meters of the requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import structlog

from inference.worker.engines.steps import StepReader
from inference.worker.engines.vllm.scheduler import CARRIER, KEY
from inference.worker.port import Counters, Meter

log = structlog.get_logger(__name__)

# How long an aborted request waits for the engine's word on its last step. The engine answers at the step's end.
LAST_WORD_S = 3.0


class GpuTime:
    """Hooks into one AsyncLLM: which of its requests belongs to which meter, and what each step cost.

    vLLM makes its own ids (choices and prompts of one request have one each), so the meter is noted where vLLM
    registers an id, in the task of the request that it is for.
    """

    def __init__(self, counters: Counters, current: Callable[[], Meter | None]) -> None:
        self._counters = counters
        self._current = current
        self._meters: dict[str, Meter] = {}
        self._open: dict[int, set[str]] = {}  # by id() of the meter: vLLM's ids that will get more
        self._waiting: dict[int, asyncio.Event] = {}
        self._readers: defaultdict[int, StepReader] = defaultdict(StepReader)  # by number of the engine

    def attach(self, engine: Any) -> None:
        """Put the hooks in. Before the engine's first request."""
        processor, core = engine.output_processor, engine.engine_core
        add_request, get_output = processor.add_request, core.get_output_async

        def add(request: Any, *args: Any, **kwargs: Any) -> Any:
            meter = self._current()
            if meter is not None:
                self._meters[request.request_id] = meter
                self._open.setdefault(id(meter), set()).add(request.request_id)
            return add_request(request, *args, **kwargs)

        async def get() -> Any:
            outputs = await get_output()
            self._take(outputs)
            return outputs

        processor.add_request = add
        core.get_output_async = get

    def _take(self, outputs: Any) -> None:
        stats = outputs.scheduler_stats
        carried = getattr(stats, CARRIER, None)
        if not carried or KEY not in carried:
            return
        steps, closed = carried.pop(KEY)
        if not carried:
            setattr(stats, CARRIER, None)
        counters, meters = self._counters, self._meters
        for busy_ns, shares in self._readers[outputs.engine_index].read(steps):
            counters.busy_ns += busy_ns
            for request_id, prefill_ns, decode_ns in shares:
                meter = meters.get(request_id)
                if meter is None:
                    continue  # vLLM's own warm-up: busy, and nobody's
                meter.gpu_prefill_ns += prefill_ns
                meter.gpu_decode_ns += decode_ns
                counters.attributed_ns += prefill_ns + decode_ns
        counters.busy_s = counters.busy_ns / 1e9
        for request_id in closed:
            self._close(request_id)

    def _close(self, request_id: str) -> None:
        meter = self._meters.pop(request_id, None)
        if meter is None:
            return
        still = self._open.get(id(meter))
        if still is None:
            return
        still.discard(request_id)
        if not still:
            del self._open[id(meter)]
            if (waiting := self._waiting.pop(id(meter), None)) is not None:
                waiting.set()

    async def settle(self, meter: Meter) -> None:
        """Wait until the engine has said its last word on a request, so that its meter is complete.

        Ends at once for a request that ended by itself, and after a step for one that was stopped.
        """
        if id(meter) not in self._open:
            return
        waiting = self._waiting.setdefault(id(meter), asyncio.Event())
        try:
            await asyncio.wait_for(waiting.wait(), LAST_WORD_S)
        except TimeoutError:
            log.warning("gpu_time.no_last_word")
        finally:
            for request_id in self._open.pop(id(meter), ()):
                self._meters.pop(request_id, None)
            self._waiting.pop(id(meter), None)

"""vLLM's own scheduler, watched: which request had how many tokens in which step, and how long the step took.

Loaded by name inside vLLM's engine process (`scheduler_cls`). Nothing about scheduling changes. What was measured
travels to the replica inside the statistics that vLLM sends with every step anyway, so it costs no message; the
replica takes it out again before vLLM looks at them (`gpu_time.GpuTime`).

vLLM's own figure of a step (`iteration_details.elapsed_ms`) is no measure of busy time: where the model runs in the
engine's process it leaves the forward pass out.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inference.worker.engines.steps import Part, StepMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm.config import VllmConfig

NAME = "inference.worker.engines.vllm.scheduler.metered_scheduler"
# Where the report travels: a dictionary among the step's statistics, there for connectors that Atrium does not use.
CARRIER = "kv_connector_stats"
KEY = "atrium_gpu_time"


def metered_scheduler(*, vllm_config: VllmConfig, **arguments: Any) -> Any:
    """What vLLM calls for its scheduler: the one that it would have chosen itself, with a meter."""
    return _metered(_own_class(vllm_config))(vllm_config=vllm_config, **arguments)


def _own_class(config: VllmConfig) -> type:
    """The class that vLLM takes where none is named."""
    scheduling = config.scheduler_config
    if getattr(config, "diffusion_config", None) is not None:
        from vllm.v1.core.sched import diffusion_scheduler as found

        name = "DiffusionAsyncScheduler" if scheduling.async_scheduling else "DiffusionScheduler"
        return getattr(found, name)
    named, scheduling.scheduler_cls = scheduling.scheduler_cls, None
    try:
        return scheduling.get_scheduler_cls()
    finally:
        scheduling.scheduler_cls = named


@lru_cache(maxsize=4)
def _metered(base: Any) -> type:
    class MeteredScheduler(base):
        """`base`, and a StepMeter that sees every step begin and end."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._meter = StepMeter(max(1, int(getattr(self.parallel_config, "world_size", 1))))

        def schedule(self, *args: Any, **kwargs: Any) -> Any:
            began_ns = time.monotonic_ns()
            output = super().schedule(*args, **kwargs)
            if output.total_num_scheduled_tokens:
                self._meter.begin(began_ns, _parts(self.requests, output.num_scheduled_tokens))
            return output

        def update_from_output(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
            if scheduler_output.total_num_scheduled_tokens:
                self._meter.end(time.monotonic_ns())
            return super().update_from_output(scheduler_output, *args, **kwargs)

        def finish_requests(self, request_ids: Any, *args: Any, **kwargs: Any) -> Any:
            if request_ids is None:
                leaving: Iterable[str] = list(self.requests)
            else:
                leaving = (request_ids,) if isinstance(request_ids, str) else list(request_ids)
            answer = super().finish_requests(leaving, *args, **kwargs)
            self._meter.leave(leaving)
            return answer

        def _free_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            self._meter.leave((request.request_id,))
            return super()._free_request(request, *args, **kwargs)

        def make_stats(self, *args: Any, **kwargs: Any) -> Any:
            stats = super().make_stats(*args, **kwargs)
            if stats is not None and (report := self._meter.take()) is not None:
                carried = dict(getattr(stats, CARRIER) or {})
                carried[KEY] = [report.steps, report.closed]
                setattr(stats, CARRIER, carried)
            return stats

    return MeteredScheduler


def _parts(requests: dict[str, Any], scheduled: dict[str, int]) -> list[Part]:
    """Prompt tokens and others of each request in the step that has just been scheduled.

    `num_computed_tokens` counts these tokens already, and the cached ones in front of them.
    """
    parts: list[Part] = []
    for request_id, tokens in scheduled.items():
        request = requests[request_id]
        unread = request.num_prompt_tokens - (request.num_computed_tokens - tokens)
        prefill = min(tokens, unread) if unread > 0 else 0
        parts.append((request_id, prefill, tokens - prefill))
    return parts

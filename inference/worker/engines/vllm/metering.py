"""What vLLM counts, turned into the port's counters: one record per engine step."""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from inference.worker.port import Counters


class StepCounters(StatLoggerBase):
    """Adds up the engine's own figures, step by step, into `counters`.

    With `busy` also the time that vLLM says its steps took: for versions that the step meter cannot watch.
    """

    def __init__(self, counters: Counters, *, busy: bool) -> None:
        self._counters = counters
        self._busy = busy

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Called by vLLM once per engine step."""
        counters = self._counters
        if scheduler_stats is not None:
            counters.running = scheduler_stats.num_running_reqs
            counters.waiting = scheduler_stats.num_waiting_reqs
            details = scheduler_stats.iteration_details
            if self._busy and details is not None and not details.is_dummy:
                counters.busy_ns += int(details.elapsed_ms * 1_000_000)
                counters.busy_s = counters.busy_ns / 1e9
        if iteration_stats is not None:
            counters.completion_tokens += iteration_stats.num_generation_tokens
            counters.prompt_tokens += iteration_stats.num_prompt_tokens

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

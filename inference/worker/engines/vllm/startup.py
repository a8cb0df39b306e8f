"""Starting vLLM: engine arguments out of a deployment's, and a process start that costs no second import."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import structlog

log = structlog.get_logger(__name__)

# Arguments of a deployment that AsyncEngineArgs takes under the same name (allow-list of models_registry).
_PASSED_ON = (
    "dtype", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
    "tensor_parallel_size", "pipeline_parallel_size", "enforce_eager", "enable_prefix_caching", "quantization",
    "block_size", "enable_lora", "max_loras", "max_lora_rank", "runner", "convert", "load_format",
)  # fmt: skip

# Memory for attention keys and values of an engine without a GPU, where the deployment says nothing.
CPU_KV_CACHE_GIB = 1.0


def prepare_environment() -> None:
    """Environment of every engine process: offline, silent, and with no second OpenMP pool fighting over cores."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if not os.path.exists("/dev/nvidia0"):
        # Without a GPU vLLM compiles a few functions by inductor even when eager: no compiler, no engine.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    # Every engine would otherwise be bound to the same first cores.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def start_forkserver() -> None:
    """Start the process that engines are forked from, with vLLM imported in it once.

    A spawned engine process imports torch and vLLM again (10 s and more on two cores); a forked one of this process,
    which has one thread and has run no kernel, starts at once. Costs one idle process that shares its memory.
    """
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vllm.v1.engine.core", "vllm.v1.worker.cpu_worker"])
    forkserver.ensure_running()


def use_forkserver() -> None:
    """Let vLLM start its engine processes from the forkserver (it knows only `spawn` and `fork` by name)."""
    import vllm.v1.engine.utils
    import vllm.v1.executor.multiproc_executor

    def context() -> Any:
        return multiprocessing.get_context("forkserver")

    for module in (vllm.v1.engine.utils, vllm.v1.executor.multiproc_executor):
        if hasattr(module, "get_mp_context"):
            module.get_mp_context = context


def engine_arguments(path: str, arguments: dict[str, Any]) -> Any:
    """vLLM's `AsyncEngineArgs` for a model folder. SECURITY: trust_remote_code is not among what can be set."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    from inference.worker.engines.vllm.forced import NAME

    chosen = {name: arguments[name] for name in _PASSED_ON if name in arguments}
    if "pooling_type" in arguments:
        from vllm.config import PoolerConfig

        chosen["pooler_config"] = PoolerConfig(pooling_type=arguments["pooling_type"])
    if arguments.get("runner") != "pooling":
        chosen["logits_processors"] = [NAME]
        # By EngineRequest.priority, and only then by arrival.
        chosen["scheduling_policy"] = "priority"
        chosen.setdefault("enable_prefix_caching", True)
        # Without it a small model's grammar may wander through white space for ever.
        chosen["structured_outputs_config"] = {"backend": "xgrammar", "disable_any_whitespace": True}
    space = arguments.get("kv_cache_space_gib")
    if space is None and "gpu_memory_utilization" not in arguments and not _has_gpu():
        # Without a GPU vLLM would take 92 % of the machine's memory, the other engines' included.
        space = CPU_KV_CACHE_GIB
    if space is not None:
        chosen["kv_cache_memory_bytes"] = int(float(space) * 1024**3)
    if can_meter():
        from inference.worker.engines.vllm.scheduler import NAME as SCHEDULER

        chosen["scheduler_cls"] = SCHEDULER
    return AsyncEngineArgs(
        model=path,
        tokenizer=path,
        trust_remote_code=False,
        enable_log_requests=False,
        disable_log_stats=False,
        enable_logging_iteration_details=True,
        reasoning_parser=arguments.get("reasoning_parser", ""),
        **chosen,
    )


def can_meter() -> bool:
    """Whether this vLLM has the place that the step meter's reports travel in; a later version might move it."""
    from vllm.v1.metrics.stats import SchedulerStats

    from inference.worker.engines.vllm.scheduler import CARRIER

    return CARRIER in getattr(SchedulerStats, "__dataclass_fields__", {})


def _has_gpu() -> bool:
    from vllm.platforms import current_platform

    return not current_platform.is_cpu()


def import_engine() -> None:
    """Import vLLM and its serving classes into this process: seconds that the first replica then does not wait."""
    import vllm.entrypoints.openai.chat_completion.serving
    import vllm.entrypoints.openai.completion.serving
    import vllm.entrypoints.pooling.embed.serving
    import vllm.v1.engine.async_llm  # noqa: F401

"""Which engine arguments a deployment may carry: an allow-list with types and bounds, per kind of engine.

SECURITY: whatever is not listed is refused. `trust_remote_code`, `hf_overrides`, plugins, download
locations and anything else that names code, a path or an address must never be added: tenants fill these
fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from models_registry.errors import EngineArgumentRefused

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Argument:
    """What one argument may be: `type`, and bounds (inclusive) of a number, length of a text, or choices."""

    type: type[bool] | type[int] | type[float] | type[str]
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()


_FLAG = Argument(bool)

# Names as vLLM 0.32 knows them; tests/models_registry/test_engine_arguments.py compares them with the
# installed one.
TOOL_CALL_PARSERS = (
    "apertus", "cohere_command3", "cohere_command4", "deepseek_v3", "deepseek_v31", "deepseek_v32",
    "deepseek_v4", "deepseek_v41", "dots", "ernie45", "functiongemma", "gemma4", "gigachat3", "glm45",
    "glm47", "granite", "granite-20b-fc", "granite4", "hermes", "hf", "hunyuan_a13b", "hy_v3", "hy_v4",
    "inkling", "internlm", "jamba", "k2_horizon", "kimi_k2", "kimi_k3", "lfm2", "ling3", "llama3_json",
    "llama4_json", "llama4_pythonic", "longcat", "mimo", "minicpm5", "minimax_m2", "minimax_m3", "mistral",
    "muse_glimmer", "olmo3", "openai", "phi4_mini_json", "plamo3", "poolside_v1", "pythonic", "qwen3_coder",
    "qwen3_json", "qwen3_xml", "seed_oss", "step3", "step3p5", "xlam",
)  # fmt: skip
REASONING_PARSERS = (
    "cohere_command3", "cohere_command4", "deepseek_r1", "deepseek_v3", "deepseek_v4", "deepseek_v41",
    "ernie45", "gemma4", "glm45", "glm47", "granite", "granite_thinking_parser", "hf", "holo2",
    "hunyuan_a13b", "hy_v3", "hy_v4", "inkling", "k2_horizon", "kimi_k2", "kimi_k3", "ling3", "mimo",
    "minicpmv", "minimax_m2", "minimax_m2_append_think", "minimax_m3", "mistral", "muse_glimmer",
    "nemotron_v3", "olmo3", "openai_gptoss", "plamo3", "poolside_v1", "qwen3", "seed_oss", "step3",
    "step3p5",
)  # fmt: skip
QUANTIZATIONS = (
    "awq", "awq_marlin", "compressed-tensors", "experts_int8", "fp8", "gptq", "gptq_marlin", "gpt_oss_mxfp4",
    "modelopt", "modelopt_fp4", "modelopt_mxfp8", "moe_wna16", "mxfp4", "quark",
)  # fmt: skip

VLLM: dict[str, Argument] = {
    "dtype": Argument(str, choices=("auto", "bfloat16", "float16", "float32", "half")),
    "max_model_len": Argument(int, 16, 16_777_216),  # tokens
    "max_num_seqs": Argument(int, 1, 4_096),
    "max_num_batched_tokens": Argument(int, 16, 1_048_576),
    "gpu_memory_utilization": Argument(float, 0.05, 0.98),
    "tensor_parallel_size": Argument(int, 1, 64),
    "pipeline_parallel_size": Argument(int, 1, 64),
    "enforce_eager": _FLAG,
    "enable_prefix_caching": _FLAG,
    "kv_cache_space_gib": Argument(int, 1, 4_096),
    "block_size": Argument(int, 1, 1_024),
    "load_format": Argument(str, choices=("auto", "safetensors", "dummy")),
    "quantization": Argument(str, choices=QUANTIZATIONS),
    "tool_call_parser": Argument(str, choices=TOOL_CALL_PARSERS),
    "reasoning_parser": Argument(str, choices=REASONING_PARSERS),
    "enable_lora": _FLAG,
    "max_loras": Argument(int, 1, 256),
    "max_lora_rank": Argument(int, 1, 512),
    # Embedding models
    "runner": Argument(str, choices=("auto", "generate", "pooling")),
    "convert": Argument(str, choices=("auto", "none", "embed")),
    "pooling_type": Argument(str, choices=("CLS", "LAST", "MEAN")),
}

OPENAI: dict[str, Argument] = {
    "timeout_s": Argument(float, 1, 3_600),
    "max_connections": Argument(int, 1, 10_000),
    "capacity": Argument(int, 1, 65_536),
    "supports_embeddings": _FLAG,
    "dialect": Argument(str, choices=("openai", "vllm")),
    "limit_field": Argument(str, choices=("max_tokens", "max_completion_tokens")),
    "ask_usage": _FLAG,
    "connect_timeout_s": Argument(float, 0.1, 60),
    "idle_timeout_s": Argument(float, 1, 3_600),
    "health_interval_s": Argument(float, 1, 3_600),
}

SIMULATED: dict[str, Argument] = {
    "tokens": Argument(int, 0, 10_000_000),
    "first_token_ms": Argument(float, 0, 3_600_000),
    "tokens_per_s": Argument(float, 0, 1_000_000),
    "fail_rate": Argument(float, 0, 1),
    "stall_after": Argument(int, 0, 10_000_000),
    "die_after": Argument(int, 0, 10_000_000),
    "text": Argument(str, 1, 100_000),
    "embedding_dimensions": Argument(int, 1, 65_536),
    "context_length": Argument(int, 0, 10_000_000),
    "capacity": Argument(int, 1, 65_536),
}

ARGUMENTS: dict[str, dict[str, Argument]] = {"vllm": VLLM, "openai": OPENAI, "simulated": SIMULATED}


def checked(engine: str, arguments: Mapping[str, Any]) -> dict[str, Value]:
    """The arguments as they are stored. Raises EngineArgumentRefused for the first that may not be."""
    if engine == "simulated" and not settings.ALLOW_SIMULATED_ENGINE:
        raise EngineArgumentRefused(
            _("The simulated engine is switched off here (ATRIUM_ALLOW_SIMULATED_ENGINE)."), argument="engine"
        )
    known = ARGUMENTS[engine]
    return {name: _value(name, _known(engine, known, name), value) for name, value in arguments.items()}


def from_text(engine: str, pairs: Iterable[str]) -> dict[str, Value]:
    """Arguments out of `name=value` texts of a command line, typed by the allow-list. Raises as `checked`."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, _equals, text = pair.partition("=")
        arguments[name] = _typed(name, _known(engine, ARGUMENTS[engine], name), text)
    return checked(engine, arguments)


def _known(engine: str, known: Mapping[str, Argument], name: str) -> Argument:
    if name not in known:
        raise EngineArgumentRefused(
            _("The engine %(engine)s takes no argument %(name)s. It takes: %(names)s.")
            % {"engine": engine, "name": str(name)[:100], "names": ", ".join(sorted(known))},
            argument=str(name)[:100],
        )
    return known[name]


def _typed(name: str, argument: Argument, text: str) -> Value:
    if argument.type is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise _wrong_type(name, argument)
        return words[text.lower()]
    try:
        return argument.type(text)
    except ValueError as error:
        raise _wrong_type(name, argument) from error


def _value(name: str, argument: Argument, value: Any) -> Value:
    if argument.type is float and type(value) is int:
        value = float(value)
    if type(value) is not argument.type:  # exactly: True is an int to isinstance
        raise _wrong_type(name, argument)
    if isinstance(value, bool):
        return value
    if argument.choices:
        if value not in argument.choices:
            raise EngineArgumentRefused(
                _("%(name)s is one of: %(choices)s.")
                % {"name": name, "choices": ", ".join(argument.choices)},
                argument=name,
            )
        return value
    size = len(value) if isinstance(value, str) else value
    if not argument.minimum <= size <= argument.maximum:  # false for NaN too
        raise EngineArgumentRefused(
            _("%(name)s lies between %(minimum)s and %(maximum)s.")
            % {"name": name, "minimum": f"{argument.minimum:g}", "maximum": f"{argument.maximum:.12g}"},
            argument=name,
        )
    return value


def _wrong_type(name: str, argument: Argument) -> EngineArgumentRefused:
    kinds = {bool: _("true or false"), int: _("a whole number"), float: _("a number"), str: _("a text")}
    return EngineArgumentRefused(
        _("%(name)s is %(kind)s.") % {"name": name, "kind": kinds[argument.type]}, argument=name
    )

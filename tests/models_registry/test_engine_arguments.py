"""The allow-list of engine arguments: types, bounds, and what must never be on it."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_registry import engine_arguments
from models_registry.engine_arguments import ARGUMENTS, checked, from_text
from models_registry.errors import EngineArgumentRefused

GOOD: dict[str, dict[str, Any]] = {
    "vllm": {
        "dtype": "bfloat16",
        "max_model_len": 2048,
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 2,
        "enforce_eager": True,
        "kv_cache_space_gib": 1,
        "tool_call_parser": "hermes",
        "runner": "pooling",
    },
    "openai": {"timeout_s": 30.0, "max_connections": 10, "capacity": 64, "supports_embeddings": False},
    "simulated": {"tokens": 64, "first_token_ms": 1.5, "fail_rate": 0.5, "text": "你好", "capacity": 8},
}


@pytest.mark.parametrize("engine", GOOD)
def test_what_is_listed_is_accepted(engine: str) -> None:
    assert checked(engine, GOOD[engine]) == GOOD[engine]


def test_a_whole_number_is_a_number() -> None:
    assert checked("openai", {"timeout_s": 30}) == {"timeout_s": 30.0}


@pytest.mark.parametrize(
    "name",
    [
        "trust_remote_code", "hf_overrides", "tokenizer", "model", "download_dir", "load_format ", "tool_parser_plugin",
        "reasoning_parser_plugin", "chat_template", "headers", "api_key", "base_url", "worker_cls", "logits_processors",
        "config_format", "hf_config_path", "revision", "code_revision", "allowed_local_media_path", "swap_space", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ARGUMENTS)
def test_what_is_not_listed_is_refused(engine: str, name: str) -> None:
    with pytest.raises(EngineArgumentRefused) as caught:
        checked(engine, {name: True})
    assert caught.value.field == f"engine_args.{name}"


@pytest.mark.parametrize(
    ("engine", "name", "value"),
    [
        ("vllm", "dtype", "int8"),
        ("vllm", "dtype", 16),
        ("vllm", "max_model_len", 15),
        ("vllm", "max_model_len", 2**24 + 1),
        ("vllm", "max_model_len", "2048"),
        ("vllm", "max_model_len", 2048.0),
        ("vllm", "max_model_len", True),
        ("vllm", "max_model_len", None),
        ("vllm", "max_num_seqs", 0),
        ("vllm", "gpu_memory_utilization", 1.0),
        ("vllm", "gpu_memory_utilization", float("nan")),
        ("vllm", "gpu_memory_utilization", float("inf")),
        ("vllm", "tensor_parallel_size", -1),
        ("vllm", "enforce_eager", 1),
        ("vllm", "enforce_eager", "true"),
        ("vllm", "quantization", "../../evil"),
        ("vllm", "tool_call_parser", "/tmp/evil.py"),
        ("vllm", "reasoning_parser", ["qwen3"]),
        ("vllm", "runner", "draft"),
        ("openai", "timeout_s", 0),
        ("openai", "max_connections", 10**9),
        ("simulated", "fail_rate", 1.5),
        ("simulated", "text", ""),
        ("simulated", "text", "x" * 100_001),
        ("simulated", "tokens", {}),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused(engine: str, name: str, value: Any) -> None:
    with pytest.raises(EngineArgumentRefused) as caught:
        checked(engine, {name: value})
    assert caught.value.argument == name


def test_the_simulated_engine_must_be_allowed(settings: Settings) -> None:
    settings.ALLOW_SIMULATED_ENGINE = False
    with pytest.raises(EngineArgumentRefused):
        checked("simulated", {})
    assert checked("vllm", {}) == {}


def test_a_command_lines_texts_are_typed_by_the_list() -> None:
    found = from_text(
        "vllm", ["dtype=auto", "max_model_len=2048", "gpu_memory_utilization=0.5", "enforce_eager=Yes"]
    )
    assert found == {
        "dtype": "auto",
        "max_model_len": 2048,
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
    }
    assert from_text("simulated", ["text=a=b"]) == {"text": "a=b"}
    for pair in (
        "max_model_len=many",
        "max_model_len",
        "enforce_eager=perhaps",
        "trust_remote_code=true",
        "=",
    ):
        with pytest.raises(EngineArgumentRefused):
            from_text("vllm", [pair])


def test_nothing_on_the_list_names_code_a_path_or_an_address() -> None:
    words = (
        "trust",
        "remote",
        "override",
        "plugin",
        "path",
        "dir",
        "url",
        "host",
        "header",
        "template",
        "cls",
        "hf",
    )
    for arguments in ARGUMENTS.values():
        for name, argument in arguments.items():
            assert not any(word in name for word in words)
            assert argument.type is not str or argument.choices or name == "text"


def _names_in(module: str) -> set[str] | None:
    """The parser names that the installed vLLM registers, read without importing it; none without vLLM."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return None
    source = Path(spec.submodule_search_locations[0], module, "__init__.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    raise AssertionError(f"vllm.{module} registers its parsers in another way now")


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("tool_parsers", engine_arguments.TOOL_CALL_PARSERS),
        ("reasoning", engine_arguments.REASONING_PARSERS),
    ],
)
def test_the_parsers_that_are_listed_are_those_of_the_installed_engine(
    module: str, ours: tuple[str, ...]
) -> None:
    theirs = _names_in(module)
    if theirs is None:
        pytest.skip("vLLM is not installed")
    assert set(ours) == theirs


def test_every_listed_argument_of_vllm_is_known_to_the_installed_engine() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = Path(spec.submodule_search_locations[0], "engine", "arg_utils.py").read_text()
    fields = {
        node.target.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    # Turned into something else by the engine worker.
    translated = {"kv_cache_space_gib", "tool_call_parser", "pooling_type"}
    assert set(engine_arguments.VLLM) - translated <= fields

"""Model folders for tests, written byte by byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 2048,
}
TENSORS: dict[str, tuple[str, list[int]]] = {"embed": ("BF16", [4, 3]), "head": ("F32", [2])}
BYTES = {"BF16": 2, "F32": 4}


def safetensors(tensors: Mapping[str, tuple[str, list[int]]] = TENSORS) -> bytes:
    """A valid safetensors file with zeros in it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    return with_header(json.dumps(header).encode(), bytes(position))


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    return len(header).to_bytes(8, "little") + header + data


def make_model(folder: Path, *, config: Mapping[str, Any] = CONFIG, weights: bytes | None = None) -> Path:
    """A small, whole model in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors() if weights is None else weights)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"auto_map": 1, "hello": 2}}}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder

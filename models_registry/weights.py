"""Reading the header of a safetensors file: is it whole, and how many parameters does it hold.

The format: 8 bytes little-endian length, that many bytes of JSON (tensor name → dtype, shape, offsets), then
the data. The header is checked against the file's size, so that a truncated or doctored file is refused here
and never reaches an engine. Nothing of the data is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from models_registry.errors import ArtifactRefused

# A shard of the largest open models has a header below 1 MB; parsing JSON costs some 20 times its size.
MAX_HEADER_BYTES = 16 * 1024 * 1024

_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 16
_MAX_NUMBER = 1 << 48
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """What one file holds: tensor names, and the number of values in all of them."""

    names: frozenset[str]
    parameters: int


def read_header(handle: BinaryIO, *, size: int, name: str) -> Weights:
    """Check the header of an open file of `size` bytes against that size. Raises ArtifactRefused."""
    head = handle.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        raise _truncated(name)
    length = int.from_bytes(head, "little")
    if length > MAX_HEADER_BYTES:
        raise ArtifactRefused(
            _("%(file)s: the header says that it is %(length)d bytes long; at most %(limit)d are read.")
            % {"file": name, "length": length, "limit": MAX_HEADER_BYTES},
            reason="header_too_large",
        )
    raw = handle.read(length)
    if len(raw) < length:
        raise _truncated(name)
    header = _parse(raw, name)
    return _checked(header, data_bytes=size - _LENGTH_BYTES - length, name=name)


def _parse(raw: bytes, name: str) -> dict[str, Any]:
    try:
        header = json.loads(raw, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, _("its header is not readable JSON")) from error
    if not isinstance(header, dict):
        raise _malformed(name, _("its header is not a JSON object"))
    return header


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """SECURITY: a name given twice means one thing to this reader and may mean another to the engine's."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _checked(header: dict[str, Any], *, data_bytes: int, name: str) -> Weights:
    header.pop("__metadata__", None)
    spans: list[tuple[int, int]] = []
    parameters = 0
    for tensor, entry in header.items():
        begin, end, values = _tensor(entry, name, tensor)
        spans.append((begin, end))
        parameters += values
    position = 0
    for begin, end in sorted(spans):
        # Neither holes nor overlaps: the format forbids both, and either can hide data.
        if begin != position:
            raise _malformed(name, _("its tensors overlap or leave gaps"))
        position = end
    if position > data_bytes:
        raise _truncated(name)
    if position < data_bytes:
        raise _malformed(name, _("it is longer than its header says"))
    if not spans:
        raise _malformed(name, _("it holds no tensors"))
    return Weights(frozenset(header), parameters)


def _tensor(entry: Any, name: str, tensor: str) -> tuple[int, int, int]:
    """Begin, end and number of values of one tensor."""
    fault = _malformed(name, _("the entry of tensor %(tensor)s is wrong") % {"tensor": tensor[:100]})
    if not isinstance(entry, dict):
        raise fault
    bits = _BITS.get(str(entry.get("dtype")))
    shape, offsets = _naturals(entry.get("shape")), _naturals(entry.get("data_offsets"))
    if bits is None or shape is None or offsets is None:
        raise fault
    # Bounds first: the product of thousands of huge numbers would cost minutes.
    if len(shape) > _MAX_DIMENSIONS or len(offsets) != 2 or any(item >= _MAX_NUMBER for item in shape):
        raise fault
    begin, end = offsets
    values = prod(shape)
    if begin > end or (end - begin) * 8 != values * bits:
        raise fault
    return begin, end, values


def _naturals(value: Any) -> list[int] | None:
    """The list, when it is one of whole numbers from 0 on."""
    return (
        value if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value) else None
    )


def _truncated(name: str) -> ArtifactRefused:
    return ArtifactRefused(
        _("%(file)s is truncated: its header promises more data than the file holds. Download it again.")
        % {"file": name},
        reason="truncated",
    )


def _malformed(name: str, what: str) -> ArtifactRefused:
    return ArtifactRefused(
        _("%(file)s is not a valid safetensors file: %(what)s.") % {"file": name, "what": what},
        reason="malformed_weights",
    )

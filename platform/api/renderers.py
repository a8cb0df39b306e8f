"""Answers that are files: any type may be asked for; what goes wrong is JSON as everywhere."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.renderers import JSONRenderer

from api.problems import CONTENT_TYPE
from api.serializers import ProblemOutput


class AnyTypeRenderer(JSONRenderer):
    """Takes every `Accept`; the file itself names its type, and problems are JSON."""

    media_type = "*/*"


def file_responses(*content_types: str) -> dict[Any, Any]:
    """For the schema: a file of one of these types, or a problem."""
    files: dict[Any, Any] = {(200, each.partition(";")[0]): OpenApiTypes.BINARY for each in content_types}
    return {
        **files,
        ("default", CONTENT_TYPE): OpenApiResponse(ProblemOutput, description="Problem (RFC 9457)"),
    }

"""Answers that are files: the REST plumbing's own (api.files)."""

from __future__ import annotations

from api.files import AnyTypeRenderer, file_responses

__all__ = ["AnyTypeRenderer", "file_responses"]

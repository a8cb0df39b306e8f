"""A streamed answer: the REST plumbing's own (api.files)."""

from __future__ import annotations

from api.files import Streamed

__all__ = ["Streamed"]

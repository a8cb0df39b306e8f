"""Cells of files: the REST plumbing's own (api.cells)."""

from __future__ import annotations

from api.cells import csv_lines, harmless

__all__ = ["csv_lines", "harmless"]

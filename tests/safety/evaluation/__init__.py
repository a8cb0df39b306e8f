"""Texts made for measuring the detectors. `half` of an injection says whether it was looked at in tuning.

`pii.jsonl`: sentences with the places of personal data; `injections.jsonl`: attacks by category; `ordinary.txt`: one
prompt per line that no detector may refuse, `\\n` for a line's end.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def ordinary_prompts() -> tuple[str, ...]:
    """Prompts as people write them."""
    lines = (FOLDER / "ordinary.txt").read_text().splitlines()
    return tuple(line.replace("\\n", "\n") for line in lines)


def pii_cases() -> list[dict[str, Any]]:
    """Sentences, and what is personal data in them."""
    return [json.loads(line) for line in (FOLDER / "pii.jsonl").read_text().splitlines()]


def injection_cases() -> list[dict[str, Any]]:
    """Attacks."""
    return [json.loads(line) for line in (FOLDER / "injections.jsonl").read_text().splitlines()]

"""What the detectors find and what they refuse by mistake, on the sets under tests/safety/evaluation.

`python -m benchmarks.safety_evaluation` prints the tables and writes them into docs/safety-evaluation.md between its
markers; `--check` writes nothing and fails when the page says something else. Half a minute; needs nothing that runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

PAGE = ROOT / "docs" / "safety-evaluation.md"
THRESHOLDS = (40, 60, 80)
_TABLES = re.compile(r"(<!-- tables -->\n).*(<!-- end of tables -->)", re.DOTALL)


def injection_table() -> list[str]:
    """Detection by category at the threshold of 60: the half that was tuned on, the half that was not, by language."""
    from safety.injection import score
    from tests.safety.evaluation import injection_cases

    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    halves: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for case in injection_cases():
        value = score(case["text"], untrusted=case["untrusted"]).score
        hits[case["category"], case["half"]].append(value >= 60)
        hits[case["category"], case["language"]].append(value >= 60)
        for threshold in THRESHOLDS:
            halves[case["half"], threshold].append(value >= threshold)
    lines = [
        "| category | tuned on | held out | English | Chinese |",
        "|---|--:|--:|--:|--:|",
    ]
    for category in sorted({category for category, _ in hits}):
        cells = [shown(hits[category, column]) for column in ("tuning", "held out", "en", "zh")]
        lines.append(f"| {category} | {' | '.join(cells)} |")
    lines += ["", "| threshold | tuned on | held out | ordinary prompts refused |", "|--:|--:|--:|--:|"]
    for threshold, refused in ordinary().items():
        cells = [shown(halves[half, threshold]) for half in ("tuning", "held out")]
        lines.append(f"| {threshold} | {' | '.join(cells)} | {refused} |")
    return lines


def ordinary() -> dict[int, str]:
    """How many ordinary prompts each threshold refuses."""
    from safety.injection import score
    from tests.safety.evaluation import ordinary_prompts

    values = [score(prompt).score for prompt in ordinary_prompts()]
    return {
        threshold: f"{sum(value >= threshold for value in values)} of {len(values)}"
        for threshold in THRESHOLDS
    }


def pii_table() -> list[str]:
    """Recall and precision by entity; a hit has exactly the labelled place."""
    from safety.pii import RECOGNISERS, find
    from tests.safety.evaluation import pii_cases

    hits: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    got: Counter[str] = Counter()
    for case in pii_cases():
        labels = {(one["entity"], one["start"], one["end"]) for one in case["entities"]}
        matches = {tuple(match) for match in find(case["text"])}
        wanted.update(entity for entity, *_ in labels)
        got.update(str(entity) for entity, *_ in matches)
        hits.update(entity for entity, *_ in labels & matches)
    lines = ["| entity | labelled | recall | precision |", "|---|--:|--:|--:|"]
    for entity in RECOGNISERS:
        recall, precision = hits[entity] / wanted[entity], hits[entity] / max(1, got[entity])
        lines.append(f"| `{entity}` | {wanted[entity]} | {recall:.3f} | {precision:.3f} |")
    return lines


def shown(hits: list[bool]) -> str:
    """`12/13`."""
    return f"{sum(hits)}/{len(hits)}" if hits else "–"


def speed() -> list[str]:
    """Seconds for a megabyte, printed only: they depend on the machine."""
    from safety.injection import score
    from safety.pii import find

    prose = (ROOT / "docs" / "architecture.md").read_text()
    text = (prose * (1_000_000 // len(prose) + 1))[:1_000_000]
    score(prose), find(prose)
    lines = []
    for name, work in (("injection", score), ("personal data", find)):
        for label, sample in (("1,000,000 characters", text), ("1,000 characters", prose[:1_000])):
            start = time.perf_counter()
            work(sample)
            lines.append(f"{name}, {label}: {(time.perf_counter() - start) * 1000:.1f} ms")
    return lines


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    tables = "\n".join([*injection_table(), "", *pii_table()]) + "\n"
    print(tables)
    print("\n".join(speed()))
    page = PAGE.read_text()
    new = _TABLES.sub(lambda match: f"{match[1]}{tables}{match[2]}", page)
    if arguments.check:
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

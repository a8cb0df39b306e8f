"""What a comparison found, as a table, as JSON and as a drawing (SVG)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict

import msgspec
from django.utils.translation import gettext as _

from inference.simulation.measures import Measures

WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 760, 420, 80, 50, 520, 300
COLOURS = ("#2563eb", "#0d9488", "#dc2626", "#d97706", "#7c3aed", "#475569")


def table(found: Sequence[Measures]) -> str:
    """One line per scheduler."""
    head = [
        _("scheduler"), _("tokens/s"), _("to first come"), _("difference max"), _("mean"), _("variance"), _("Jain"),
        _("quiet p50 ms"), _("p99 ms"), _("to alone"), _("longest wait s"), _("of the quiet s"), _("refused"),
    ]  # fmt: skip
    rows = [
        [
            one.scheduler,
            f"{one.tokens_per_s:,.0f}",
            f"{one.to_first_come:.3f}",
            f"{one.difference_max:,.1f}",
            f"{one.difference_mean:,.1f}",
            f"{one.difference_variance:,.0f}",
            f"{one.jain:.3f}",
            _number(one.quiet_p50_ms, 1),
            _number(one.quiet_p99_ms, 1),
            _number(one.quiet_ratio, 2),
            f"{one.longest_wait_ms / 1000:,.1f}",
            f"{one.longest_quiet_wait_ms / 1000:,.1f}",
            f"{one.refused:,}",
        ]
        for one in found
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )


def as_json(found: Sequence[Measures]) -> str:
    """All figures, the differences of every window included."""
    return msgspec.json.format(msgspec.json.encode([asdict(one) for one in found]), indent=2).decode()


def drawing(found: Sequence[Measures]) -> str:
    """The difference in service, window by window, a line for each scheduler. Plain SVG."""
    top = max((value for one in found for value in one.differences), default=0.0) or 1.0
    longest = max((len(one.differences) for one in found), default=1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(
            LEFT, 28, _("Difference in service between tenants (weighted tokens per second, 60 s windows)")
        ),
    ]
    for step in range(5):
        y = TOP + PLOT_HEIGHT * step / 4
        parts.append(f'<path d="M{LEFT} {y:.1f}h{PLOT_WIDTH}" stroke="#e2e8f0"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{top * (4 - step) / 4:,.0f}", anchor="end"))
    parts.append(
        _text(
            LEFT + PLOT_WIDTH / 2, TOP + PLOT_HEIGHT + 34, _("time, s (begin of the window)"), anchor="middle"
        )
    )
    for step in range(5):
        at = (longest - 1) * step / 4
        parts.append(
            _text(LEFT + PLOT_WIDTH * step / 4, TOP + PLOT_HEIGHT + 16, f"{at * 10:,.0f}", anchor="middle")
        )
    for index, one in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        points = " ".join(
            f"{LEFT + PLOT_WIDTH * number / max(1, longest - 1):.1f},"
            f"{TOP + PLOT_HEIGHT * (1 - value / top):.1f}"
            for number, value in enumerate(one.differences)
        )
        y = TOP + 14 + 20 * index
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<path d="M{LEFT + PLOT_WIDTH + 16} {y - 4}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(LEFT + PLOT_WIDTH + 40, y, one.scheduler))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"

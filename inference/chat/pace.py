"""How fast one connection may send: a bucket of messages that fills again as time passes."""

from __future__ import annotations

from core import clock


class Pace:
    """`burst` messages at once, `per_s` of them in the long run."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = float(burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Whether one more message is within the pace; it is counted if so."""
        now = clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

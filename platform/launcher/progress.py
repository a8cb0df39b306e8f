"""What the person at the terminal sees: short lines, each with the seconds since the start.

The language follows LC_ALL, LC_MESSAGES or LANG: English, or Simplified Chinese from locale/ beside this file.
"""

from __future__ import annotations

import gettext
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_LOCALE = Path(__file__).with_name("locale")


def _languages() -> list[str]:
    value = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return ["zh_Hans"] if value.startswith("zh") else []


def _(message: str) -> str:
    """The message in the terminal's language. The catalogue is read anew only when the language changes."""
    catalogue = gettext.translation("launcher", _LOCALE, languages=_languages(), fallback=True)
    return catalogue.gettext(message)


class Progress:
    """Writes to a terminal or a log; both get the same plain lines, flushed at once."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def line(self, text: str) -> None:
        """One step that is done, or one thing that happened."""
        self._write(f"  {self.elapsed():6.1f} s  {text}")

    def block(self, lines: Iterable[str]) -> None:
        """Lines without a time: the summary."""
        self._write("\n".join(lines))

    def fail(self, sentence: str) -> None:
        """The sentence that ends a start that did not work out, on standard error."""
        print(sentence, file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            # The terminal went away; the platform goes on until it is told to stop.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115

"""What can go wrong in the pipeline itself."""

from __future__ import annotations


class InvalidRule(Exception):
    """A rule that cannot be run. `rule` is its id; `message` says in words what is wrong and what to write instead."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


class CheckerFailed(Exception):
    """A checker broke while it looked at a text. Nothing may pass: the caller closes the door (L22).

    Never holds the text; the cause is chained.
    """

"""What the registry refuses, with stable codes. The edges turn them into the shape of their surface."""

from __future__ import annotations

from core.errors import Conflict, InvalidInput


class ArtifactRefused(InvalidInput):
    """A model's files cannot be trusted or used; `reason` is one stable word, `message` says what to do."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, code=f"artifact_{reason}", field="path")
        self.reason = reason


class AddressRefused(InvalidInput):
    """A remote engine's address is malformed, or leads where the platform may not go (SSRF)."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, code=f"address_{reason}", field="remote_base_url")
        self.reason = reason


class EngineArgumentRefused(InvalidInput):
    """An engine argument is not on the allow-list, or its value is not of the right type or size."""

    def __init__(self, message: str, *, argument: str) -> None:
        super().__init__(message, code="engine_argument_refused", field=f"engine_args.{argument}")
        self.argument = argument


class TransitionRefused(Conflict):
    """A version cannot go from the state that it is in to the one that was asked for."""

    code = "transition_refused"

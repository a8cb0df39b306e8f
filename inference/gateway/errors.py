"""The errors of the data plane, where the surfaces look for them, and when some of them are due."""

from __future__ import annotations

from inference.errors import Rejected, invalid_key, unavailable
from inference.queue.calls import QueueFull
from models_registry.specs import Route

__all__ = ["Rejected", "invalid_key", "queue_full", "require_task", "retry_after_s", "unavailable"]


def require_task(target: Route, kind: str) -> None:
    """Raises Rejected(400) when the model is not for this kind of request. A chat model also completes texts."""
    if target.task != kind and not (kind == "completion" and target.task == "chat"):
        raise Rejected(
            400,
            "model_not_supported",
            f"The model '{target.name}' is for {target.task} requests and does not serve {kind} requests.",
            param="model",
        )


def retry_after_s(expected_ms: int) -> float:
    """When a tenant whose queue is full should try again: when a quarter of what waits has been taken, at the latest
    after a minute. 2 s where nobody knows how fast the queue moves."""
    return 2.0 if expected_ms < 0 else min(60.0, max(1.0, expected_ms / 4_000))


def queue_full(full: QueueFull) -> Rejected:
    """A tenant has as many requests waiting as it may."""
    return unavailable(
        f"{full.waiting} requests of yours are waiting already. Send fewer at once, or try again shortly.",
        code="queue_full",
        retry_after_s=retry_after_s(full.expected_ms),
    )

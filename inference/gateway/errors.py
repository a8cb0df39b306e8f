"""The errors of the data plane, where the surfaces look for them."""

from __future__ import annotations

from inference.errors import Rejected, invalid_key, unavailable

__all__ = ["Rejected", "invalid_key", "unavailable"]

"""What can go wrong with money; the edges turn these into the shape of their surface."""

from __future__ import annotations

from core.errors import Conflict, InvalidInput


class AmountRefused(InvalidInput):
    """Not an amount: no whole number of nano-units, out of bounds, or no number at all."""

    code = "amount_refused"


class InsufficientFunds(Conflict):
    """The wallet and its credit line do not cover this."""

    code = "insufficient_funds"


class KeyReused(Conflict):
    """An idempotency key, or a payment's reference, was used before for something else."""

    code = "idempotency_key_reused"


class EpochClosed(Conflict):
    """The escrow's epoch has ended: whoever asks holds numbers from before a restart of Valkey."""

    code = "epoch_closed"

"""What a payment provider is to the platform. Amounts are nano-units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Order:
    """A payment that somebody wants to make. `id` is the platform's (`pay_…`), for the provider to carry along."""

    id: str
    tenant: str  # short name
    amount_nano: int
    currency: str
    reference: str = ""  # given by whoever asks; providers that number payments themselves ignore it


@dataclass(frozen=True, slots=True)
class Placed:
    """How the provider knows the payment, and where the payer goes to pay, if anywhere."""

    reference: str
    pay_url: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a provider reports: the payment of this reference was paid in full, or will not be."""

    reference: str
    paid: bool
    amount_nano: int
    currency: str


class PaymentProvider(Protocol):
    """Takes payments. Implementations keep no state of their own: the platform's rows are the state."""

    name: str
    # Whether an operator may say that a payment has arrived; otherwise only the provider may.
    confirmed_by_operator: bool

    def place(self, order: Order) -> Placed:
        """Announce a payment to the provider. Raises InvalidInput or Unavailable."""
        ...

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The report in a webhook's request, its signature checked. Raises NotAllowed for one that is not theirs."""
        ...

    def refund(self, order: Order, reference: str) -> None:
        """Pay the whole amount back. Raises Unavailable, or Conflict where that cannot be done any more."""
        ...

"""What admission asks of the ledger, as a port: prices, the worst case of a request, and escrow.

The ledger plugs in with `use`. Until it does nothing is charged: `Uncharged` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID


class PriceTerms(Protocol):
    """One price, pinned to a request when it is admitted."""

    @property
    def id(self) -> str:
        """What the usage record names."""


class Terms(Protocol):
    """What a tenant pays: nothing, or by the price of a model's name (`*` for every other)."""

    @property
    def charged(self) -> bool:
        """False for a tenant without a price plan."""

    @property
    def currency(self) -> str:
        """ISO 4217."""

    @property
    def prices(self) -> Mapping[str, PriceTerms]:
        """By public name."""


class Grant(Protocol):
    """A slice of a tenant's money that PostgreSQL has set aside for one memory of Valkey."""

    @property
    def id(self) -> str:
        """Credited once, however often it is tried."""

    @property
    def amount_nano(self) -> int:
        """Billionths of the currency unit."""

    @property
    def currency(self) -> str:
        """ISO 4217."""


class Treasury(Protocol):
    """The ledger's side. All of it is synchronous and enters the tenant's scope itself."""

    def terms_for(self, *, tenant_id: UUID) -> Terms:
        """Prices in force for the tenant."""

    def worst_case_nano(
        self,
        price: Any,  # one of its own `PriceTerms`
        *,
        prompt_tokens: int,
        most_tokens: int,
        gpu_bound_ns: int,
        slot_bound_ms: int,
    ) -> int:
        """The most that a request within these bounds can cost; pure."""

    def grant(self, *, tenant_id: UUID, epoch: str, need_nano: int) -> Grant | None:
        """Set aside at least `need_nano`; none when the tenant cannot cover it."""

    def give_back(self, *, tenant_id: UUID, epoch: str, amount_nano: int, currency: str) -> None:
        """Return escrow that has been taken out of Valkey already."""


class _NoTerms:
    charged = False
    currency = ""
    prices: Mapping[str, PriceTerms] = {}


NO_TERMS: Terms = _NoTerms()


class Uncharged:
    """No ledger: nobody is charged, so nothing is ever asked for."""

    def terms_for(self, *, tenant_id: UUID) -> Terms:
        """Not charged."""
        return NO_TERMS

    def worst_case_nano(self, price: PriceTerms, **bounds: int) -> int:
        """Nothing costs anything."""
        return 0

    def grant(self, *, tenant_id: UUID, epoch: str, need_nano: int) -> Grant | None:
        """There is no money to set aside."""
        return None

    def give_back(self, *, tenant_id: UUID, epoch: str, amount_nano: int, currency: str) -> None:
        """There is no money to return."""


_treasury: Treasury = Uncharged()


def use(treasury: Treasury) -> None:
    """Plug the ledger in; once, when the application starts. A module with these functions will do."""
    global _treasury
    _treasury = treasury


def treasury() -> Treasury:
    """The ledger that is plugged in."""
    return _treasury

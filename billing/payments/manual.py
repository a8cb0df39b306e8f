"""Payments that people make outside the platform, such as bank transfers: an operator writes down what arrived."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext as _

from billing.payments.port import Notice, Order, Placed
from core.errors import InvalidInput, NotAllowed


class ManualProvider:
    """The reference is the operator's, e.g. the bank's number of the transfer. Money moves outside the platform."""

    name = "manual"
    confirmed_by_operator = True

    def place(self, order: Order) -> Placed:
        """The payment as the operator knows it. Raises InvalidInput without a reference."""
        reference = order.reference.strip()
        if not reference or len(reference) > 200 or not reference.isprintable():
            raise InvalidInput(_("Give the payment's reference, e.g. that of the bank."), field="reference")
        return Placed(reference)

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Nobody reports manual payments. Raises NotAllowed."""
        raise NotAllowed(_("Manual payments are confirmed by an operator."))

    def refund(self, order: Order, reference: str) -> None:
        """The operator pays back outside the platform; there is nothing to call."""

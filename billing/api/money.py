"""Amounts in bodies: currency units as text, exact ("12.5"); a JSON number would be read as a float by many."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from billing import money
from billing.errors import AmountRefused


class AmountField(serializers.Field[int, str, str, int]):
    """Nano-units inside, currency units as text outside. `least` and `most` are nano-units."""

    default_error_messages = {"text": _("Write an amount as text, such as “12.50”.")}

    def __init__(self, *, least: int = -money.MAX_NANO, most: int = money.MAX_NANO, **kwargs: Any) -> None:
        self.least, self.most = least, most
        super().__init__(**kwargs)

    def to_representation(self, value: int) -> str:
        """Plain digits, every one of them."""
        return money.plain(value)

    def to_internal_value(self, data: Any) -> int:
        """The exact nano-units, or a validation error."""
        if not isinstance(data, str):
            self.fail("text")
        try:
            return money.nano(money.parse(data), least=self.least, most=self.most)
        except AmountRefused as error:
            raise serializers.ValidationError(error.message, code=error.code) from None

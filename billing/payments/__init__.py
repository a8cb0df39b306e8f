"""The port through which money comes in: what a payment provider has to do, and the providers that there are."""

from __future__ import annotations

from django.utils.translation import gettext as _

from billing.payments.manual import ManualProvider
from billing.payments.port import Notice, Order, PaymentProvider, Placed
from core.errors import InvalidInput

__all__ = ["Notice", "Order", "PaymentProvider", "Placed", "provider", "register"]

_PROVIDERS: dict[str, PaymentProvider] = {}


def register(made: PaymentProvider) -> None:
    """Add a provider, e.g. in the `ready` of an app of its own; one of the same name is replaced."""
    _PROVIDERS[made.name] = made


def provider(name: str) -> PaymentProvider:
    """The provider of this name. Raises InvalidInput, naming those that there are."""
    found = _PROVIDERS.get(name)
    if found is None:
        raise InvalidInput(
            _("Use one of these providers: %(names)s.") % {"names": ", ".join(sorted(_PROVIDERS))},
            field="provider",
        )
    return found


register(ManualProvider())

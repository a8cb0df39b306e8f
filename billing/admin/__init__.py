"""Usage, money and the billing centre on support staff's desk; read-mostly, every write with a reason."""

from billing.admin import centre, money

__all__ = ["centre", "money"]

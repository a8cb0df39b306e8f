"""Bounds on guessing passwords: per network address, per account, and per account from a known address.

Counters live in the shared cache, so that all web processes count together. They count attempts before the
password is looked at, so that guesses sent at once do not slip through. An address from which an account
has been signed in to before is counted by itself: who guesses at an account from elsewhere cannot lock its
owner out.
"""

from __future__ import annotations

import structlog
from django.core.cache import cache
from redis.exceptions import RedisError

from accounts.models import normalise_email
from core.encryption import keyed_digest

log = structlog.get_logger(__name__)

WINDOW_S = 15 * 60
ATTEMPTS_PER_ACCOUNT = 10
ATTEMPTS_PER_ADDRESS = 100
KNOWN_ADDRESS_S = 30 * 24 * 3600


def admit(*, email: str, address: str) -> bool:
    """Count one attempt; False when there have been too many in the last quarter of an hour.

    Up to six round trips to the cache. With the cache away nobody is admitted: unbounded guessing is worse.
    """
    try:
        by_address = _count(_address_key(address))
        known = cache.get(_known_key(email, address)) is not None
        by_account = _count(_account_key(email, address if known else ""))
    except RedisError:
        log.warning("accounts.throttle_unavailable", exc_info=True)
        return False
    return by_address <= ATTEMPTS_PER_ADDRESS and by_account <= ATTEMPTS_PER_ACCOUNT


def is_blocked(*, email: str, address: str) -> bool:
    """True when the next attempt would be refused; counts nothing. For the sentence on the sign-in page."""
    try:
        known = cache.get(_known_key(email, address)) is not None
        by_account = cache.get(_account_key(email, address if known else ""), 0)
        by_address = cache.get(_address_key(address), 0)
    except RedisError:
        return True
    return bool(by_account >= ATTEMPTS_PER_ACCOUNT or by_address >= ATTEMPTS_PER_ADDRESS)


def succeeded(*, email: str, address: str) -> None:
    """Remember the address for this account and forget the attempts made from it."""
    cache.set(_known_key(email, address), 1, KNOWN_ADDRESS_S)
    cache.delete(_account_key(email, address))


def _count(key: str) -> int:
    cache.add(key, 0, WINDOW_S)
    try:
        return cache.incr(key)
    except ValueError:  # the window ended between the two calls
        cache.set(key, 1, WINDOW_S)
        return 1


# SECURITY: addresses of people and networks are hashed, so that the cache holds no list of who signs in.
def _account_key(email: str, address: str) -> str:
    return "sign-in:account:" + keyed_digest("sign-in", f"{normalise_email(email)}\n{address}")


def _address_key(address: str) -> str:
    return "sign-in:address:" + keyed_digest("sign-in", address)


def _known_key(email: str, address: str) -> str:
    return "sign-in:known:" + keyed_digest("sign-in", f"{normalise_email(email)}\n{address}")

"""Keyed hashes and encryption at rest. One derived key per purpose, so that no secret serves two
(CVE-2026-114612)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


@lru_cache(maxsize=64)
def derive_key(secret: str, purpose: str) -> bytes:
    """A 32-byte key for one purpose out of a secret of ours (HKDF-SHA256, RFC 5869)."""
    hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"atrium:{purpose}".encode())
    return hkdf.derive(secret.encode())


def keyed_digest(purpose: str, value: str) -> str:
    """HMAC-SHA-256 of `value` with the pepper's key for `purpose`, as 64 hexadecimal digits."""
    return hmac.new(derive_key(settings.KEY_PEPPER, purpose), value.encode(), hashlib.sha256).hexdigest()


def _fernet(purpose: str) -> MultiFernet:
    keys = [derive_key(secret, purpose) for secret in settings.ENCRYPTION_KEYS]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def encrypt(purpose: str, plain: str) -> str:
    """Encrypt for storage (Fernet: AES-128-CBC with HMAC); the newest of the configured keys is used."""
    return _fernet(purpose).encrypt(plain.encode()).decode()


def decrypt(purpose: str, cipher: str) -> str:
    """The text again. Raises ValueError when no configured key fits."""
    try:
        return _fernet(purpose).decrypt(cipher.encode()).decode()
    except InvalidToken as error:
        raise ValueError("cannot be decrypted with the configured ATRIUM_ENCRYPTION_KEY") from error


# --- Data keys: one per tenant, kept wrapped by the platform's key. Without its key a text is noise.

_NONCE = 12


def new_data_key() -> bytes:
    """A fresh 256-bit key."""
    return AESGCM.generate_key(256)


def seal(key: bytes, plain: bytes, bound_to: str) -> bytes:
    """AES-256-GCM with a random nonce in front. Opens only with the same `bound_to`, which is not kept in it."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode())


def unseal(key: bytes, sealed: bytes, bound_to: str) -> bytes:
    """What was sealed. Raises ValueError for another key, another `bound_to`, or a text that was changed."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.encode())
    except (InvalidTag, ValueError) as error:
        raise ValueError("cannot be opened: another key, another place, or changed") from error


def wrap_key(purpose: str, key: bytes, bound_to: str) -> str:
    """A data key as it may be stored: sealed with the newest of the platform's keys for `purpose`."""
    return base64.b64encode(
        seal(derive_key(settings.ENCRYPTION_KEYS[0], f"wrap:{purpose}"), key, bound_to)
    ).decode()


def unwrap_key(purpose: str, wrapped: str, bound_to: str) -> bytes:
    """The data key again, by whichever of the platform's keys fits. Raises ValueError when none does."""
    sealed = base64.b64decode(wrapped)
    for secret in settings.ENCRYPTION_KEYS:
        try:
            return unseal(derive_key(secret, f"wrap:{purpose}"), sealed, bound_to)
        except ValueError:
            continue
    raise ValueError("cannot be opened with the configured ATRIUM_ENCRYPTION_KEY")

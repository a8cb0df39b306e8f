"""Keyed hashes and encryption at rest. One derived key per purpose, so that no secret serves two
(CVE-2026-114612)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
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

"""Makes the installation's secrets once and keeps them in ATRIUM_HOME/secrets, a file each, mode 0600.

Losing one is not harmless: without the pepper no API key is recognised, without the encryption key no stored
credential can be read. They belong into the backup beside the database, and nowhere else.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from launcher.home import write_private


def _token() -> str:
    return secrets.token_urlsafe(48)


def _fernet_key() -> str:
    """32 random bytes in the form that cryptography's Fernet takes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# Environment variable of a server → how its value is made.
SERVER_SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": _token,
    "ATRIUM_KEY_PEPPER": _token,
    "ATRIUM_ENCRYPTION_KEY": _fernet_key,
    "ATRIUM_AUDIT_KEY": _token,
}


class Secrets:
    """Reads what is there, makes what is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, make: Callable[[], str] = _token) -> str:
        """The secret of this name; made and written at the first call."""
        path = self.folder / name
        try:
            if value := path.read_text().strip():
                return value
        except FileNotFoundError:
            pass
        value = make()
        write_private(path, value)
        return value

    def server_environment(self) -> dict[str, str]:
        """The secrets that the servers need. What the environment gives (or points to with `_FILE`) wins."""
        return {
            name: os.environ.get(name) or self.get(name, make)
            for name, make in SERVER_SECRETS.items()
            if f"{name}_FILE" not in os.environ
        }

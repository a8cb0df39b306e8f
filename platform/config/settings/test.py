"""Tests: the same real servers as `make run`, started by tests/services.py before this is read."""

from __future__ import annotations

import os

from config.settings.local import *  # noqa: F403
from config.settings.local import ATRIUM_HOME

# One for each process of a parallel run: what one leaves open must not come back in another's stream.
USAGE_JOURNAL_DIR = ATRIUM_HOME / "journal" / str(os.getpid())
AUDIT_DIR = ATRIUM_HOME / "audit" / str(os.getpid())

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

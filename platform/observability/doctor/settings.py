"""Secrets, hosts and switches, read from the settings alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from observability.doctor.findings import Finding

MIN_SECRET_LENGTH = 32
MIN_SECRET_LETTERS = 10  # different characters; fewer are a word repeated or a placeholder
_PLACEHOLDERS = (
    "change",
    "insecure",
    "example",
    "secret-key",
    "password",
    "default",
    "xxxxxxxx",
    "1234567890",
)


def is_production() -> bool:
    """True for the production settings, where leniency meant for one's own machine has no place."""
    return os.environ.get("DJANGO_SETTINGS_MODULE", "").endswith(".production")


def weakness(secret: str) -> str:
    """Why `secret` is too weak to guard anything, or an empty text."""
    if len(secret) < MIN_SECRET_LENGTH:
        return _("it is shorter than %(length)d characters") % {"length": MIN_SECRET_LENGTH}
    if len(set(secret)) < MIN_SECRET_LETTERS:
        return _("it repeats too few different characters")
    if any(word in secret.lower() for word in _PLACEHOLDERS):
        return _("it looks like a placeholder")
    return ""


def check_secrets() -> Iterator[Finding]:
    """Each purpose has a strong secret, and no two purposes the same."""
    area = "secrets"
    advice = _("Set %(name)s to what `python -c 'import secrets; print(secrets.token_urlsafe(48))'` prints.")
    named = [("SECRET_KEY", _secret_key()), ("ATRIUM_KEY_PEPPER", settings.KEY_PEPPER)]
    named += [("ATRIUM_ENCRYPTION_KEY", secret) for secret in settings.ENCRYPTION_KEYS or [""]]
    named += [("ATRIUM_AUDIT_KEY", secret) for secret in settings.AUDIT_KEYS or [""]]
    sound = True
    for name, secret in named:
        if not secret:
            sound = False
            yield Finding(
                "problem", area, _("%(name)s is not set.") % {"name": name}, advice % {"name": name}
            )
        elif why := weakness(secret):
            sound = False
            yield Finding(
                "problem",
                area,
                _("%(name)s is weak: %(why)s.") % {"name": name, "why": why},
                advice % {"name": name},
            )
    given = [secret for _name, secret in named if secret]
    if len(set(given)) != len(given):
        sound = False
        yield Finding(
            "problem",
            area,
            _("One secret serves two purposes."),
            _("Give SECRET_KEY, ATRIUM_KEY_PEPPER, ATRIUM_ENCRYPTION_KEY and ATRIUM_AUDIT_KEY a value each."),
        )
    if sound:
        yield Finding("ok", area, _("Every purpose has a strong secret of its own."))


def _secret_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's answer to an empty one
        return ""


def check_switches() -> Iterator[Finding]:
    """DEBUG, ALLOWED_HOSTS and what production wants of them."""
    area = "settings"
    if settings.DEBUG:
        yield Finding(
            "problem" if is_production() else "warning",
            area,
            _("DEBUG is on: error pages show settings and data."),
            _("Set DEBUG=false wherever others can reach this server."),
        )
    else:
        yield Finding("ok", area, _("DEBUG is off."))
    yield from _check_hosts(area)
    if is_production() and settings.ALLOW_SIMULATED_ENGINE:
        yield Finding(
            "warning",
            area,
            _("Simulated engines are allowed: they answer with made-up text."),
            _("Unset ATRIUM_ALLOW_SIMULATED_ENGINE unless this is a drill."),
        )
    if is_production() and not settings.PUBLIC_BASE_URL.startswith("https://"):
        yield Finding(
            "warning",
            area,
            _("PUBLIC_BASE_URL is not an https address."),
            _("Set PUBLIC_BASE_URL to the address that people type, e.g. https://llm.example.com."),
        )


def _check_hosts(area: str) -> Iterator[Finding]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding(
            "problem",
            area,
            _("ALLOWED_HOSTS lets any host name in: links in e-mails could be forged."),
            _("Name the hosts that this server is reached by, e.g. ALLOWED_HOSTS=llm.example.com."),
        )
    elif not settings.ALLOWED_HOSTS:
        yield Finding(
            "problem",
            area,
            _("ALLOWED_HOSTS is empty: every page will answer 400."),
            _("Name the hosts that this server is reached by, e.g. ALLOWED_HOSTS=llm.example.com."),
        )
    else:
        yield Finding("ok", area, _("Served for %(hosts)s.") % {"hosts": ", ".join(settings.ALLOWED_HOSTS)})

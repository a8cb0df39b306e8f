"""Which pages may open a websocket: this site's own, and programs, which have no page.

SECURITY: browsers send cookies along with websockets that foreign pages open (cross-site websocket
hijacking). As Django does for forms, the origin must be the very host that is asked, or one of
CSRF_TRUSTED_ORIGINS; a comparison with ALLOWED_HOSTS alone would let in a page from another port of the same
machine. The host must be an allowed one too, or a name that an attacker points here would count as the same
site (DNS rebinding).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host


class OwnPagesOnly:
    """Denies the handshake (403) to foreign pages; tells the application whether a page of ours is asking."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        """Pass on with `origin_checked` set: False for programs, whose cookies must not count."""
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", [])}
        origin = headers.get(b"origin")
        if origin is not None and not is_own(origin, headers.get(b"host", "")):
            return await WebsocketDenier()(scope, receive, send)
        return await self.application({**scope, "origin_checked": origin is not None}, receive, send)


def is_own(origin: str, host: str) -> bool:
    """Whether a page of `origin` belongs to the site that is asked as `host`."""
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    domain, _port = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    return bool(domain) and validate_host(domain, allowed) and urlsplit(origin).netloc.lower() == host.lower()

"""The websocket side of the ASGI entry.

The consumer reads the session by itself; Django's middleware has no part.
"""

from __future__ import annotations

from channels.routing import URLRouter
from channels.sessions import CookieMiddleware

from inference.chat.origins import OwnPagesOnly
from inference.chat.routing import websocket_urlpatterns

websocket_application = OwnPagesOnly(CookieMiddleware(URLRouter(websocket_urlpatterns)))

"""The ASGI entry. `/v1`, `/t/<slug>/v1` and health go to lean applications of our own and never meet Django's
middleware (L1); everything else goes to Django, the websocket to Channels."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter

from config.bounds import BoundedBodies
from config.dispatch import Dispatcher
from config.routing import websocket_application
from inference.openai.app import OpenAIApplication
from observability.health import HealthApplication

application = Dispatcher(
    data_plane=OpenAIApplication(),
    health=HealthApplication(),
    rest=ProtocolTypeRouter({"http": BoundedBodies(django_application), "websocket": websocket_application}),
)

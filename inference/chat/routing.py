"""Where the chat's websocket is."""

from django.urls import path

from inference.chat.consumers import ChatConsumer

websocket_urlpatterns = [path("ws/chat/", ChatConsumer.as_asgi())]

"""Tables of this application. Requests in flight live in Valkey; only chats are kept here."""

from inference.chat.models import ChatMessage, ChatSession

__all__ = ["ChatMessage", "ChatSession"]

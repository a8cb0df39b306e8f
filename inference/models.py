"""Tables of this application. Requests in flight live in Valkey; chats and call logs are kept here."""

from inference.call_logs.models import CallLog, CallLogText, DataKey, LogPolicy
from inference.chat.models import ChatMessage, ChatSession

__all__ = ["CallLog", "CallLogText", "ChatMessage", "ChatSession", "DataKey", "LogPolicy"]

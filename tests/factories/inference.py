"""Chats."""

from __future__ import annotations

import factory

from core import clock
from inference.chat.models import ChatMessage, ChatSession
from tests.factories.accounts import UserFactory
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class ChatSessionFactory(WalledFactory):
    """A member's chat."""

    class Meta:
        model = ChatSession

    tenant = factory.SubFactory(TenantFactory)
    user = factory.SubFactory(UserFactory)
    title = factory.Sequence(lambda n: f"chat {n}")
    model = "chatter"
    active_at = factory.LazyFunction(clock.now)


class ChatMessageFactory(WalledFactory):
    """A question in a chat."""

    class Meta:
        model = ChatMessage

    tenant = factory.SubFactory(TenantFactory)
    session = factory.SubFactory(ChatSessionFactory, tenant=factory.SelfAttribute("..tenant"))
    ordinal = factory.Sequence(lambda n: n)
    role = "user"
    content = "What is this?"

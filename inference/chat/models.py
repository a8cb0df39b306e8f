"""ChatSession and ChatMessage: a chat belongs to one member, or to one API key, of one tenant."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned, Timestamped

TITLE_LENGTH = 120


class ChatSession(TenantOwned, Timestamped):
    """One chat.

    Only its owner sees it: the member who began it, or the key that did; nobody else in the tenant.
    """

    id_prefix = "chat"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("member"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
    )
    key = models.ForeignKey(
        "access.APIKey",
        verbose_name=_("API key"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
    )
    title = models.CharField(_("title"), max_length=TITLE_LENGTH, blank=True)
    model = models.CharField(_("model"), max_length=200)
    system_prompt = models.TextField(_("system prompt"), blank=True)
    # OpenAI names (`temperature`, `max_tokens`, …); protocol.Parameters bounds them before they arrive here.
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    # The list of chats is ordered by the last message, not by the last rename.
    active_at = models.DateTimeField(_("last message"))

    class Meta(TenantOwned.Meta):
        verbose_name = _("chat")
        verbose_name_plural = _("chats")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user__isnull=True) ^ models.Q(key__isnull=True),
                name="inference_chat_one_owner",
            ),
        ]
        indexes = [
            # A member's chats, and a key's, newest first.
            models.Index(fields=["tenant", "user", "-active_at", "-id"], name="inference_chat_by_user"),
            models.Index(fields=["tenant", "key", "-active_at", "-id"], name="inference_chat_by_key"),
        ]

    def __str__(self) -> str:
        return self.public_id  # never the title: it is the beginning of somebody's prompt


class Role(models.TextChoices):
    """Who speaks."""

    USER = "user", _("User")
    ASSISTANT = "assistant", _("Assistant")


class MessageState(models.TextChoices):
    """How far a message has come. All but `complete` of an answer can be continued."""

    COMPLETE = "complete", _("Complete")
    STREAMING = "streaming", _("Being written")
    STOPPED = "stopped", _("Stopped")
    INTERRUPTED = "interrupted", _("Interrupted")
    FAILED = "failed", _("Failed")


class ChatMessage(TenantOwned, Timestamped):
    """One message of a chat. Answers to the same question share `ordinal`; the highest `attempt` is the one
    shown.

    `writer` fences writers: an answer is written by whoever's id stands there, so a process that lost its
    answer to a resumed connection cannot overwrite what the other has made of it.
    """

    id_prefix = "msg"

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="messages")
    ordinal = models.PositiveIntegerField(_("position"))
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    role = models.CharField(_("role"), max_length=16, choices=Role.choices)
    content = models.TextField(_("content"), blank=True)
    state = models.CharField(
        _("state"), max_length=16, choices=MessageState.choices, default=MessageState.COMPLETE
    )
    model = models.CharField(_("model"), max_length=200, blank=True)
    # The version that wrote the tokens below: another one's tokens mean other text, so it cannot continue
    # them.
    version_id = models.UUIDField(null=True, blank=True, editable=False)
    # Kept while the answer can still be continued, then emptied.
    token_ids = ArrayField(models.IntegerField(), default=list, blank=True, editable=False)
    writer = models.UUIDField(null=True, blank=True, editable=False)
    # The sender's own name for a question: sent twice over a broken connection, it is answered once.
    client_id = models.CharField(max_length=64, blank=True, editable=False)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    finish_reason = models.CharField(_("finish reason"), max_length=32, blank=True)
    usage = models.JSONField(_("usage"), default=dict, blank=True)
    timing = models.JSONField(_("timing"), default=dict, blank=True)
    error_code = models.CharField(_("error"), max_length=64, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("chat message")
        verbose_name_plural = _("chat messages")
        constraints = [
            # Also serves "the messages of a chat in order".
            models.UniqueConstraint(fields=["session", "ordinal", "attempt"], name="inference_message_place"),
            models.UniqueConstraint(
                fields=["session", "client_id"],
                condition=~models.Q(client_id=""),
                name="inference_message_sent_once",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="inference_message_role_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=MessageState.values), name="inference_message_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.ordinal}"

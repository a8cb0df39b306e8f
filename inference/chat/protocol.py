"""The messages of /ws/chat/ (subprotocol `atrium.chat.v1`): JSON objects told apart by `type`, each bounded
here.

Positions in a text (`offset`, `received`, `length`) count Unicode code points from its beginning. A
`chat.delta` with an `offset` below what the reader has means "from here on the text is this": readers cut
there, then append.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

SUBPROTOCOL = "atrium.chat.v1"
KEY_PREFIX = "atr.key."  # of the subprotocol in which a program brings its key

MESSAGE_BYTES = 512 * 1024  # of one message from the client
CONTENT_CHARACTERS = 100_000
LIST_LIMIT = 100
HISTORY_LIMIT = 100

# PostgreSQL cannot store NUL, and no model has a use for it.
Text = Annotated[str, Meta(max_length=CONTENT_CHARACTERS, pattern=r"\A[^\x00]*\Z")]
Line = Annotated[str, Meta(max_length=120, pattern=r"\A[^\x00\r\n]*\Z")]
Question = Annotated[str, Meta(max_length=CONTENT_CHARACTERS, pattern=r"\A(?=[\s\S]*\S)[^\x00]*\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f]+\Z")]
PublicId = Annotated[str, Meta(min_length=3, max_length=64, pattern=r"\A[a-z]+_[0-9a-z]+\Z")]
ClientId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[\w.:-]+\Z")]


class Parameters(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Sampling parameters under their OpenAI names; what is absent is the engine's default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    max_tokens: Annotated[int, Meta(ge=1, le=1_048_576)] | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=0, le=2**53 - 1)] | UnsetType = UNSET
    stop: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[^\x00]*\Z")]],
            Meta(max_length=4),
        ]
        | UnsetType
    ) = UNSET
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType = UNSET
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType = UNSET

    def as_dict(self) -> dict[str, Any]:
        """Only what was given, ready for an OpenAI body."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        return given


class FromClient(Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """Base of what a client may send."""


class Auth(FromClient, tag="auth"):
    """The first message of a program that could not set a subprotocol; answered by `ready`."""

    api_key: Annotated[str, Meta(min_length=1, max_length=200)]


class Create(FromClient, tag="chat.create"):
    """Begin a chat; answered by `chat.created`."""

    model: Name
    client_id: ClientId = ""
    title: Line = ""
    system: Text = ""
    params: Parameters = msgspec.field(default_factory=Parameters)


class Update(FromClient, tag="chat.update"):
    """Rename a chat or change what its next answers are made with; answered by `chat.updated`."""

    chat: PublicId
    title: Line | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    system: Text | UnsetType = UNSET
    params: Parameters | UnsetType = UNSET


class Delete(FromClient, tag="chat.delete"):
    """Remove a chat with its messages for good; answered by `chat.deleted`."""

    chat: PublicId


class ListChats(FromClient, tag="chat.list"):
    """One's own chats, the last used first; answered by `chat.list`.

    `before` is the `next` of an earlier answer.
    """

    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT)] = 50
    before: Annotated[str, Meta(max_length=100)] = ""


class History(FromClient, tag="chat.history"):
    """The last messages of a chat, or those before position `before`; answered by `chat.history`."""

    chat: PublicId
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LIMIT)] = 50
    before: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class Send(FromClient, tag="chat.send"):
    """Ask. `client_id` names the question: sent again after a broken connection, it is not asked twice."""

    chat: PublicId
    content: Question
    client_id: ClientId
    model: Name | UnsetType = UNSET
    params: Parameters | UnsetType = UNSET


class Stop(FromClient, tag="chat.stop"):
    """Stop the answer that is being written in a chat; answered by `chat.stopped`."""

    chat: PublicId


class Regenerate(FromClient, tag="chat.regenerate"):
    """Answer the last question of a chat once more."""

    chat: PublicId
    client_id: ClientId
    model: Name | UnsetType = UNSET
    params: Parameters | UnsetType = UNSET


class Resume(FromClient, tag="chat.resume"):
    """Go on with an answer that was cut off.

    `received` is how many of its characters are on the screen already.
    """

    chat: PublicId
    message: PublicId
    received: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Ping(FromClient, tag="ping"):
    """Answered by `pong`, so that a client finds a dead connection."""


Incoming = Auth | Create | Update | Delete | ListChats | History | Send | Stop | Regenerate | Resume | Ping


class ToClient(Struct, tag_field="type", kw_only=True):
    """Base of what the server sends."""


class TenantView(Struct):
    """The tenant that the connection speaks for."""

    id: str
    slug: str


class ModelView(Struct):
    """A model that may be chatted with."""

    name: str
    context_length: int | None = None


class Ready(ToClient, tag="ready"):
    """Authenticated. `chats_at_once` answers may be written at the same time over this connection."""

    tenant: TenantView
    models: list[ModelView]
    chats_at_once: int
    message_bytes: int = MESSAGE_BYTES
    content_characters: int = CONTENT_CHARACTERS


class ChatView(Struct):
    """A chat as it stands in lists."""

    chat: str
    title: str
    model: str
    system: str
    params: dict[str, Any]
    active_at: str


class Created(ToClient, tag="chat.created"):
    """The chat exists; `client_id` as it was sent."""

    chat: ChatView
    client_id: str = ""


class Updated(ToClient, tag="chat.updated"):
    """The chat as it is now."""

    chat: ChatView


class Deleted(ToClient, tag="chat.deleted"):
    """The chat is gone."""

    chat: str


class Listed(ToClient, tag="chat.list"):
    """A page of chats; `next` goes into `before` for the next one and is empty on the last."""

    chats: list[ChatView]
    next: str = ""


class MessageView(Struct):
    """A message as it stands in a history. `attempts` is how often the question has been answered."""

    message: str
    ordinal: int
    role: str
    content: str
    state: str
    created_at: str
    model: str = ""
    attempts: int = 1
    request_id: str = ""
    finish_reason: str = ""
    usage: dict[str, Any] = {}
    timing: dict[str, Any] = {}
    error_code: str = ""


class HistoryPage(ToClient, tag="chat.history"):
    """Messages of a chat, oldest first; `has_more` when there are older ones."""

    chat: ChatView
    messages: list[MessageView]
    has_more: bool = False


class Started(ToClient, tag="chat.started"):
    """An answer begins, or goes on at `offset`. `question` is the message that it answers."""

    chat: str
    message: str
    question: str
    request_id: str
    model: str
    offset: int
    attempts: int
    title: str
    client_id: str = ""


class Delta(ToClient, tag="chat.delta"):
    """A piece of text that begins at character `offset`. `seq` counts the pieces of one answer from 0."""

    chat: str
    message: str
    seq: int
    offset: int
    text: str


class Completed(ToClient, tag="chat.completed"):
    """The answer is whole, `length` characters long.

    Times are milliseconds; `tokens_per_s` from the first token on.
    """

    chat: str
    message: str
    finish_reason: str
    usage: dict[str, Any]
    timing: dict[str, Any]
    length: int


class Stopped(ToClient, tag="chat.stopped"):
    """The answer ends here on request, after `length` characters; `chat.resume` would go on with it."""

    chat: str
    message: str
    length: int
    usage: dict[str, Any] = {}
    timing: dict[str, Any] = {}


class Error(ToClient, tag="error", omit_defaults=True):
    """Something failed.

    `code` is stable, `message` a sentence; `chat`, `message_id` and `client_id` say about what.
    """

    code: str
    message: str
    retryable: bool
    param: str = ""
    limit: dict[str, Any] | None = None  # which limit said no: name, scope, value, remaining, reset_at
    retry_after_ms: int = 0
    request_id: str = ""
    chat: str = ""
    message_id: str = ""
    client_id: str = ""


class Pong(ToClient, tag="pong"):
    """Still here."""


_decoder = msgspec.json.Decoder(Incoming)
_encoder = msgspec.json.Encoder()


def decode(text: str) -> Incoming:
    """One message of a client. Raises msgspec.DecodeError (ValidationError with a path) for anything else."""
    message: Incoming = _decoder.decode(text)
    return message


def encode(message: ToClient) -> str:
    """One message for a client, as the text of a websocket frame."""
    return _encoder.encode(message).decode()

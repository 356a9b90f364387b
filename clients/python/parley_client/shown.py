"""What readers are shown. What comes from the wire is as the wire has it: a message is a dictionary with the
fields of `wire.Message`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from parley_client import wire
from parley_client.errors import Json, ParleyError
from parley_client.known import key_of

#: - `connecting`: for the first time
#: - `online`
#: - `offline`: it comes back by itself; `error` has the reason where it was told
#: - `refused`: a person has to mend what `error` says, and then `reconnect` or `reopen`
#: - `ended`: the session is archived or has expired: to be read, and nothing else
Connection = Literal["connecting", "online", "offline", "refused", "ended"]

Part = wire.Text | wire.Reasoning | wire.Tool | wire.Source | wire.FilePart | wire.Data | wire.Step


class Doing(TypedDict):
    """What a producer does while it writes nothing."""

    status: str
    detail: str | None


class ShownMessage(wire.Message):
    """As history has it, with its parts also where it is one text. `passing`: the newest part that is shown
    and not kept."""

    doing: NotRequired[Doing]
    passing: NotRequired[Part]


class PendingMessage(TypedDict):
    """What was said here and is not known to be committed.

    `status`: `saving`: not kept over a restart yet, which takes a moment; `waiting`: kept, and sent as soon
    as that is possible (`error` says why it was not); `sending`; `sent`: committed, and about to be one of
    `messages`; `failed`: refused for the reason in `error`: `retry` or `discard` it.
    """

    client_message_id: str
    session_id: str
    sender_type: Literal["user"]
    sender_id: str | None
    created_at: str
    status: Literal["saving", "waiting", "sending", "sent", "failed"]
    content: str
    parts: list[Any]
    error: Json | None


@dataclass(frozen=True, slots=True)
class Underway:
    """A file that is being uploaded; `sent` in bytes of it."""

    id: str
    name: str
    size: int
    sent: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    id: str
    #: One's own key; None before there is a token.
    me: str | None
    connection: Connection
    error: ParleyError | None
    session: wire.SessionDetails | None
    #: The path, by `seq`. `siblings` of a message are its versions, for `select`.
    messages: tuple[ShownMessage, ...]
    has_older: bool
    #: In the order in which they are sent.
    pending: tuple[PendingMessage, ...]
    uploads: tuple[Underway, ...]
    online: Mapping[str, str]
    #: Where very many are online; else None.
    online_count: int | None
    typing: tuple[str, ...]
    read_marks: Mapping[str, int]
    users: Mapping[str, wire.Person]
    #: Questions that are open. `when_busy` is there where the server has said it.
    turns: tuple[wire.Turn, ...]
    #: Questions that were ended without an answer: by what.
    outcomes: Mapping[str, str]


class SessionLine(TypedDict):
    session_id: str
    title: str | None
    agent_id: int | None
    agent_name: str | None
    last_message: str | None
    last_message_at: str | None
    unread_count: int
    status: Literal["active", "archived", "expired"]


@dataclass(frozen=True, slots=True, eq=False)
class SessionsState:
    #: Newest activity first.
    sessions: tuple[SessionLine, ...]
    has_more: bool
    total: int
    connection: Connection
    error: ParleyError | None


class FileAddress(TypedDict):
    url: str
    thumbnail_url: str | None
    expires_at: str


class UploadedFile(TypedDict):
    file_id: str
    file_url: str
    thumbnail_url: str | None
    file_info: wire.FileInfo
    uploaded_at: str


class FoundMessage(TypedDict):
    """A hit. `snippet` is HTML: escaped text, and `<mark>`."""

    kind: Literal["message", "session"]
    session_id: str
    session_title: str | None
    message_id: str | None
    seq: int | None
    sender_type: Literal["agent", "system", "user"] | None
    sender_id: str | None
    sender_name: str | None
    created_at: str
    snippet: str


class FoundPage(TypedDict):
    results: list[FoundMessage]
    has_more: bool
    cursor: str | None


class SenderOf(TypedDict):
    key: str
    name: str
    avatar_url: str | None


def sender_of(state: SessionState, message: Mapping[str, Any]) -> SenderOf:
    """Who sent a message."""
    key = key_of(dict(message))
    agent = state.session["agent"] if state.session else None
    known: Any = state.users.get(key) or (agent if agent and key == f"agent:{agent['id']}" else None) or {}
    return {
        "key": key,
        "name": known.get("name") or message["sender_id"],
        "avatar_url": known.get("avatar_url"),
    }

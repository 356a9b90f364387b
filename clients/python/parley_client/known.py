"""What a client knows of a session. Frozen: each change is another one, and shares what did not change."""

from dataclasses import dataclass, field

from parley_client.errors import Json


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    # What readers are shown.
    session: Json | None = None
    messages: tuple[Json, ...] = ()  # the path, by seq
    has_older: bool = False
    online: dict[str, str] = field(default_factory=dict)  # user -> status
    online_count: int | None = None  # where very many are online
    typing: tuple[str, ...] = ()
    read_marks: dict[str, int] = field(default_factory=dict)  # user -> seq
    users: dict[str, Json] = field(default_factory=dict)  # key -> {name, avatar_url}
    turns: tuple[Json, ...] = ()
    outcomes: dict[str, str] = field(default_factory=dict)  # question -> why it has no answer
    # What is known besides.
    aside: dict[str, Json] = field(default_factory=dict)  # messages of other branches
    next: dict[str, int] = field(default_factory=dict)  # stream -> index of what comes next in it
    holes: tuple[str, ...] = ()  # messages whose text lacks something
    revision: int = 0  # all that changed up to here is known
    newest: int = 0  # the highest revision that was told
    behind: bool = False  # more pages of what changed are to come
    lineage: str | None = None
    last_seq: int = 0
    branched: bool = False
    moved: bool = False  # the next message may be a version of another one
    stale: bool = False  # what is shown may not be the path any more


EMPTY = Known()


def find(state: Known, message_id: str) -> Json | None:
    at = place(state.messages, message_id)
    return state.aside.get(message_id) if at < 0 else state.messages[at]


def place(messages: tuple[Json, ...], message_id: str) -> int:
    """Where it is, or -1; what changes is mostly the newest."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at]["message_id"] == message_id:
            return at
    return -1


def by_seq(message: Json) -> int:
    seq: int = message["seq"]
    return seq


def key_of(message: Json) -> str:
    """How people are named: who sent a message, or whom an event is about (docs/protocol.md, section 1)."""
    sender: str | None = message.get("sender_id")
    if sender is None:
        return str(message.get("user_id"))
    if message["sender_type"] == "user":
        return f"user:{sender}" if sender.startswith(("user:", "agent:", "service:")) else sender
    return f"{'agent' if message['sender_type'] == 'agent' else 'service'}:{sender}"

"""What AG-UI's clients send, as far as Parley has a meaning for it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from events.errors import ValidationFailed
from events.outline import Nested
from events.pagetools import MOST_PAGE_TOOLS
from events.schema import ClientMessageId, Metadata, SessionId, WhenBusy
from events.wording import invalid
from server.dialects.wholechats import AllMessages, check_values
from server.engine.packets import loads

S = TypeVar("S", bound=Struct)

#: Bytes of a request. A client sends all of its messages each time, and files within them; the last ones
#: count.
LARGEST = 4 * 1024 * 1024
#: By the version that a client declares; those of before declare none.
PROTOCOL = "1.0"

#: Letters of an id: no id of ours is longer.
LONGEST_ID = 400

_Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
_Role = Literal["user", "assistant", "tool", "system", "developer", "reasoning", "activity"]


class RunTool(Struct, kw_only=True):
    """A tool of the page's."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class PageContext(Struct, kw_only=True):
    """What the page wants its agent to know."""

    description: str
    value: Any


class ResumeEntry(Struct, kw_only=True, rename="camel"):
    """What is said to one interrupt."""

    interrupt_id: _Id
    status: Literal["resolved", "cancelled"]
    payload: Any = msgspec.UNSET


class RunInput(Struct, kw_only=True, rename="camel"):
    """`threadId` is the session, made with its first question. The last of `messages` count: a user's
    question, or what tools of the page gave. `when_busy` is Parley's own."""

    thread_id: SessionId
    run_id: Annotated[str, Meta(min_length=1, max_length=255)]
    messages: AllMessages = []
    tools: Annotated[list[RunTool], Meta(max_length=MOST_PAGE_TOOLS)] | None = None
    context: Annotated[list[PageContext], Meta(max_length=1000)] | None = None
    state: Any = None
    forwarded_props: Any = None
    resume: Annotated[list[ResumeEntry], Meta(max_length=100)] | None = None
    protocol_version: str | None = None
    when_busy: WhenBusy | None = field(default=None, name="when_busy")


class RunStop(Struct, kw_only=True, rename="camel"):
    """Without `runId` whatever the thread is at."""

    run_id: Annotated[str, Meta(max_length=255)] | None = None


class _Head(Struct, rename="camel"):
    """A request as it came: a client's messages may be many, and few of them are looked at."""

    thread_id: Raw = Raw()
    run_id: Raw = Raw()
    messages: AllMessages = []
    tools: Raw = Raw()
    context: Raw = Raw()
    state: Raw = Raw()
    forwarded_props: Raw = Raw()
    resume: Raw = Raw()
    protocol_version: Raw = Raw()
    when_busy: Raw = field(default=Raw(), name="when_busy")


class ToolCallId(Struct):
    id: str = ""


class KnownMessage(Struct, rename="camel"):
    """A message that the client has: all else of it is skipped, not built."""

    role: str = ""
    id: str = ""
    content: Any = None
    tool_calls: list[ToolCallId] | None = None
    tool_call_id: str | None = None


class RunMessage(Struct, kw_only=True, rename="camel"):
    """One that counts."""

    id: ClientMessageId
    role: _Role
    content: str | list[dict[str, Any]] | None = None
    tool_call_id: _Id | None = None
    error: str | None = None
    metadata: Metadata | None = None


def input_in(body: bytes) -> RunInput:
    """Raises ValidationFailed."""
    check_values(body)
    head = _decoded(body, _Head)
    given = {name: _loaded(value) for name, value in _fields(head) if bytes(value)}
    try:
        made = msgspec.convert(given, RunInput)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    made.messages = head.messages
    return made


def _fields(head: _Head) -> Sequence[tuple[str, Raw]]:
    names = zip(head.__struct_fields__, head.__struct_encode_fields__, strict=True)
    return [(told, getattr(head, name)) for name, told in names if name != "messages"]


def counting(messages: Sequence[Raw]) -> list[RunMessage]:
    """The last one, with all that tools gave before it. Raises ValidationFailed."""
    last: list[RunMessage] = []
    for raw in reversed(messages):
        if last and _decoded(raw, KnownMessage).role != "tool":
            break
        try:
            message = msgspec.convert(_loaded(raw), RunMessage)
        except msgspec.ValidationError as error:
            raise invalid(error, "messages") from error
        last.insert(0, message)
        if message.role != "tool":
            break
    return last


def known(messages: Sequence[Raw]) -> list[KnownMessage]:
    """Raises ValidationFailed."""
    return [_decoded(raw, KnownMessage) for raw in messages]


def _loaded(raw: Raw) -> Any:
    try:
        return loads(bytes(raw))
    except Nested as error:
        raise ValidationFailed(str(error)) from error
    except ValueError as error:
        raise ValidationFailed("not strict JSON") from error


def _decoded(body: bytes | Raw, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValidationFailed("not strict JSON") from error

"""What the AI SDK's transports send, as far as Parley has a meaning for it. Fields of a page's own are
ignored."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from events.errors import ValidationFailed
from events.outline import Nested
from events.pagetools import PageTool, brought
from events.schema import AgentId, ClientMessageId, SessionId, WhenBusy
from events.wording import invalid
from server.dialects.pagetools import page_tools
from server.dialects.wholechats import AllMessages
from server.engine.packets import loads

S = TypeVar("S", bound=Struct)

#: Bytes of a request. A client sends all of its messages each time, with the files within them.
LARGEST = 4 * 1024 * 1024
Trigger = Literal["submit-message", "regenerate-message"]


class UIMessage(Struct, kw_only=True):
    """`parts` as the client has them."""

    id: ClientMessageId
    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[dict[str, Any]], Meta(max_length=5000)] = []
    metadata: Any = None


class UIChatRequest(Struct, kw_only=True):
    """`id` is the chat's: the session, made with its first message. `messages` are all that the page shows,
    of which the last one counts; or `message` is that one alone. `agent_id` is whom a new session asks.
    `tools` are the page's by their names, as assistant-ui sends them."""

    id: SessionId
    messages: AllMessages = []
    message: Raw = field(default_factory=Raw)  # a value as the default cannot be written into a schema
    trigger: Trigger = "submit-message"
    message_id: Annotated[str, Meta(max_length=255)] | None = field(default=None, name="messageId")
    agent_id: AgentId | None = None
    when_busy: WhenBusy | None = None
    tools: Raw = field(default_factory=Raw)


class UIChatStop(Struct, kw_only=True):
    """`messageId`, or the id of `assistantMessage`, names the answer, or its question; else it is the one
    that is being written."""

    message_id: Annotated[str, Meta(max_length=255)] | None = field(default=None, name="messageId")
    assistant_message: dict[str, Any] | None = field(default=None, name="assistantMessage")


class _Named(Struct):
    """All else is skipped, not built."""

    id: str = ""


class _Stop(Struct):
    """`UIChatStop`, of which no more is built."""

    message_id: Annotated[str, Meta(max_length=255)] | None = field(default=None, name="messageId")
    assistant_message: _Named | None = field(default=None, name="assistantMessage")


def to_stop(body: bytes) -> str:
    """The id of the answer, or question, that is to be stopped; empty where none is named. Raises
    ValidationFailed."""
    stop = read_as(body or b"{}", _Stop)
    return stop.message_id or (stop.assistant_message.id if stop.assistant_message else "")


def request_in(body: bytes) -> UIChatRequest:
    """Raises ValidationFailed."""
    request = read_as(body, UIChatRequest)
    if "\0" in request.id or "\0" in (request.message_id or ""):
        raise ValidationFailed("no NUL", field="id")
    return request


def last_message(request: UIChatRequest) -> UIMessage:
    """The one that a request is about: the last one, or another that it names. Raises ValidationFailed."""
    messages = [request.message] if bytes(request.message) not in (b"", b"null") else request.messages
    if not messages:
        raise ValidationFailed("say something", field="messages")
    last = messages[-1]
    if request.trigger == "submit-message" and request.message_id is not None:
        named = (each for each in reversed(messages) if read_as(each, _Named).id == request.message_id)
        last = next(named, last)
    try:
        return msgspec.convert(_strict(last, "messages"), UIMessage)
    except msgspec.ValidationError as error:
        raise invalid(error, "messages") from error


def tools_in(told: Raw) -> list[PageTool] | None:
    """Anything else that a page calls so is its own. Raises ValidationFailed."""
    if not bytes(told).startswith(b"{"):
        return None
    given = _strict(told, "tools")
    if not all(isinstance(tool, dict) and "parameters" in tool for tool in given.values()):
        return None
    tools = page_tools(
        [
            {"name": name, "description": tool.get("description", ""), "parameters": tool["parameters"]}
            for name, tool in given.items()
        ]
    )
    brought(tools)  # before a session is made
    return tools


def _strict(value: Raw, name: str) -> Any:
    try:
        return loads(bytes(value))
    except (Nested, ValueError) as error:
        told = str(error) if isinstance(error, Nested) else "not strict JSON"
        raise ValidationFailed(told, field=name) from error


def read_as(body: bytes | Raw, kind: type[S]) -> S:
    """Raises ValidationFailed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValidationFailed("not strict JSON") from error

"""What programs send to OpenAI's API, as far as Parley has a meaning for it. Unknown fields are ignored: how
a model is asked (`temperature`, `max_tokens`, …) is its agent's setting."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from events.pagetools import MOST_PAGE_TOOLS
from events.parts import Url
from events.schema import Metadata, SessionId, WhenBusy

#: A call's own id, and its answer's.
CallId = Annotated[str, Meta(min_length=1, max_length=301)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
#: Of one call; what is beyond what an agent is told (`events.agents.replies`) is not stored.
Messages = Annotated[list["ChatMessage"], Meta(min_length=1, max_length=2000)]


class TextContent(Struct, kw_only=True, tag_field="type", tag="text"):
    text: str


class RefusalContent(Struct, kw_only=True, tag_field="type", tag="refusal"):
    refusal: str


class ImageAddress(Struct, kw_only=True):
    """`http` or `https` alone: a file of one's own is uploaded to the session."""

    url: Url


class ImageContent(Struct, kw_only=True, tag_field="type", tag="image_url"):
    image_url: ImageAddress


ContentPart = TextContent | RefusalContent | ImageContent


class CalledFunction(Struct, kw_only=True):
    """`arguments` is JSON."""

    name: Name
    arguments: str = ""


class MadeCall(Struct, kw_only=True):
    id: CallId
    function: CalledFunction
    type: Literal["function"] = "function"


class ChatMessage(Struct, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: Annotated[list[MadeCall], Meta(max_length=100)] | None = None
    tool_call_id: CallId | None = None
    function_call: Any = None


class ChatTool(Struct, kw_only=True):
    """`function` is as `events.pagetools.PageTool`; what else it has is ignored."""

    type: Literal["function"]
    function: dict[str, Any]


#: `auto` is what agents do; `none` brings no tools.
ToolChoice = Literal["auto", "none"]


class StreamOptions(Struct, kw_only=True):
    include_usage: bool | None = None


class ConversationName(Struct, kw_only=True):
    id: SessionId


class ChatCompletionRequest(Struct, kw_only=True):
    """`model` is an agent, by its name or id. The last of `messages` is the question; the session is that of
    `conversation` or `metadata.session_id`, or is made for the call."""

    model: Name
    messages: Messages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    conversation: SessionId | ConversationName | None = None
    metadata: Metadata | None = None
    when_busy: WhenBusy | None = None
    tools: Annotated[list[ChatTool], Meta(max_length=MOST_PAGE_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    # What would be another answer than the one that there is.
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    functions: Annotated[list[Any], Meta(max_length=0)] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    modalities: list[Literal["text"]] | None = None

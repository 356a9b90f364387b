"""What programs send to OpenAI's API, as far as Parley has a meaning for it. Unknown fields are ignored: how
a model is asked (`temperature`, `max_tokens`, …) is its agent's setting."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from events.parts import Url
from events.schema import Metadata, SessionId, WhenBusy

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


class ChatMessage(Struct, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None


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
    # What would be another answer than the one that there is.
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    tools: Annotated[list[Any], Meta(max_length=0)] | None = None
    functions: Annotated[list[Any], Meta(max_length=0)] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    modalities: list[Literal["text"]] | None = None

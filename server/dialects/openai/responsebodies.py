"""What programs send to OpenAI's Responses API, as far as Parley has a meaning for it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from events.pagetools import MOST_PAGE_TOOLS
from events.parts import PartId, Url
from events.schema import Metadata, SessionId, WhenBusy
from server.dialects.openai.bodies import CallId, ConversationName, Name, ToolChoice

ResponseId = Annotated[str, Meta(min_length=1, max_length=120)]


class InputText(Struct, kw_only=True, tag_field="type", tag="input_text"):
    text: str


class OutputText(Struct, kw_only=True, tag_field="type", tag="output_text"):
    text: str


class OutputRefusal(Struct, kw_only=True, tag_field="type", tag="refusal"):
    refusal: str


class InputImage(Struct, kw_only=True, tag_field="type", tag="input_image"):
    """An address, or a file of the session."""

    image_url: Url | None = None
    file_id: PartId | None = None


class InputFile(Struct, kw_only=True, tag_field="type", tag="input_file"):
    file_url: Url | None = None
    file_id: PartId | None = None
    filename: Annotated[str, Meta(max_length=255)] | None = None


InputContent = InputText | OutputText | OutputRefusal | InputImage | InputFile
Contents = list[InputContent]


class InputItem(Struct, kw_only=True):
    """One of any type; a message needs none. `content` of a message, and `output` of a call, is a text or
    `Contents`; `arguments` is JSON."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Any] | None = None
    call_id: CallId | None = None
    name: Name | None = None
    arguments: str | None = None
    output: str | list[Any] | None = None


class FunctionTool(Struct, kw_only=True):
    """A tool of the caller's (`events.pagetools.PageTool`)."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class TextFormat(Struct, kw_only=True):
    type: str = "text"


class TextSettings(Struct, kw_only=True):
    format: TextFormat | None = None


class ResponseRequest(Struct, kw_only=True):
    """`model` is an agent, by its name or id. The last item of `input` is the question; the session is that
    of `previous_response_id`, `conversation` or `metadata.session_id`, or is made for the call."""

    model: Name
    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=2000)]
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: ResponseId | None = None
    conversation: SessionId | ConversationName | None = None
    metadata: Metadata | None = None
    when_busy: WhenBusy | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=MOST_PAGE_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    # What would be another answer than the one that there is.
    text: TextSettings | None = None
    prompt: None = None


class ResponseQuery(Struct, kw_only=True):
    """`starting_after` is the `sequence_number` of the last event that one has."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=0, lt=10**15)] | None = None


class InputItemsQuery(Struct, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: ResponseId | None = None

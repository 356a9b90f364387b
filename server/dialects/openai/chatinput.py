"""The `messages` of a chat completion as a conversation. Knows no route."""

from collections.abc import Sequence

from events.errors import ValidationFailed
from events.parts import BETWEEN, FilePart, GivenPart, Text
from server.dialects.files import kind_of
from server.dialects.openai.bodies import ChatMessage, ImageContent, TextContent
from server.dialects.openai.conversation import Entry, ToolCall, text_in
from server.dialects.openai.toolcalls import GivenOutput


def entries_of(messages: Sequence[ChatMessage]) -> list[Entry]:
    """Raises ValidationFailed."""
    return [_entry(message, place) for place, message in enumerate(messages)]


def _entry(message: ChatMessage, place: int) -> Entry:
    if message.role == "function" or message.function_call:
        raise ValidationFailed("tools, not functions", field=f"messages[{place}]")
    parts = _parts(message, place)
    if message.role == "tool":
        if message.tool_call_id is None:
            raise ValidationFailed("is required", field=f"messages[{place}].tool_call_id", joint=" ")
        text = BETWEEN.join(part.text for part in parts if isinstance(part, Text))
        return Entry("tool", output=GivenOutput(message.tool_call_id, text))
    if message.role != "assistant":
        return Entry("user", parts)
    calls = [
        ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
    ]
    return Entry("assistant", parts, calls)


def _parts(message: ChatMessage, place: int) -> list[GivenPart]:
    content = message.content
    if isinstance(content, str):
        return text_in(content)
    parts: list[GivenPart] = []
    for part in content or ():
        if isinstance(part, ImageContent):
            if message.role in ("assistant", "tool"):
                raise ValidationFailed("texts alone", field=f"messages[{place}].content")
            parts.append(_picture(part, place))
        else:
            parts += text_in(part.text if isinstance(part, TextContent) else part.refusal)
    return parts


def _picture(part: ImageContent, place: int) -> FilePart:
    url = part.image_url.url
    guessed = kind_of(url, f"messages[{place}].content")
    kind = guessed if guessed is not None and guessed.startswith("image/") else "image/jpeg"
    return FilePart(url=url, media_type=kind)

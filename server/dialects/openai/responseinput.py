"""The `input` of a response as a conversation; and a message as an item of it. Knows no route."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from events.errors import ValidationFailed
from events.parts import BETWEEN, FilePart, GivenPart, Text
from events.wording import invalid
from server.dialects.files import kind_of
from server.dialects.openai.conversation import Entry, ToolCall, text_in
from server.dialects.openai.responsebodies import (
    Contents,
    InputFile,
    InputImage,
    InputItem,
    OutputRefusal,
)
from server.dialects.openai.toolcalls import GivenOutput
from storage.records import MessageRecord

#: Items of earlier answers, as programs send them back: the agent knows what it thought and did.
AGENTS_OWN = frozenset({"reasoning", "mcp_call", "mcp_list_tools"})


def entries_of(given: str | Sequence[InputItem]) -> list[Entry]:
    """Raises ValidationFailed."""
    if isinstance(given, str):
        given = [InputItem(role="user", content=given)]
    entries = [_entry(item, place) for place, item in enumerate(given) if item.type not in AGENTS_OWN]
    if not entries:
        raise ValidationFailed("say something", field="input")
    return entries


def _entry(item: InputItem, place: int) -> Entry:
    match item:
        case InputItem(type="function_call", call_id=str(call_id), name=str(name)):
            return Entry("assistant", calls=[ToolCall(call_id, name, item.arguments or "")])
        case InputItem(type="function_call_output", call_id=str(call_id)):
            return Entry("tool", output=GivenOutput(call_id, _text(item.output, f"input[{place}].output")))
        case InputItem(type="message", role=str(role)):
            parts = _parts(item.content, f"input[{place}].content", texts=role == "assistant")
            return Entry("assistant" if role == "assistant" else "user", parts)
    raise ValidationFailed("a message, or a call of a function and its output", field=f"input[{place}]")


def _text(output: str | list[Any] | None, field: str) -> str:
    parts = _parts(output, field, texts=True)
    return BETWEEN.join(part.text for part in parts if isinstance(part, Text))


def _parts(content: str | list[Any] | None, field: str, *, texts: bool) -> list[GivenPart]:
    if isinstance(content, str):
        return text_in(content)
    try:
        contents = msgspec.convert(content or [], Contents)
    except msgspec.ValidationError as error:
        raise invalid(error, field) from error
    parts: list[GivenPart] = []
    for each in contents:
        if not isinstance(each, InputImage | InputFile):
            parts += text_in(each.refusal if isinstance(each, OutputRefusal) else each.text)
        elif texts:
            raise ValidationFailed("texts alone", field=field)
        else:
            parts.append(_file(each, field))
    return parts


def _file(given: InputImage | InputFile, field: str) -> FilePart:
    url = given.image_url if isinstance(given, InputImage) else given.file_url
    if given.file_id is not None:
        return FilePart(file_id=given.file_id)
    if url is None:
        raise ValidationFailed("an http address, or the id of a file of the session", field=field)
    name = given.filename if isinstance(given, InputFile) else None
    guessed = kind_of(name or url, field)
    if isinstance(given, InputImage) and (guessed is None or not guessed.startswith("image/")):
        guessed = "image/jpeg"
    return FilePart(url=url, media_type=guessed or UNSET, name=name or UNSET)


def item_of(record: MessageRecord) -> dict[str, Any]:
    """A message as an item of the input that it was."""
    if record.sender_type == "agent":
        said = {"type": "output_text", "text": record.content, "annotations": []}
        return _item(record, "assistant", [said])
    parts = record.parts or [{"type": "text", "text": record.content}]
    contents = [shown for part in parts if (shown := _content(part)) is not None]
    return _item(record, "user", contents)


def _item(record: MessageRecord, role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    head = {"id": record.message_id, "type": "message", "status": "completed"}
    return head | {"role": role, "content": content}


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] != "file":
        return None
    url, file_id = part.get("url"), part.get("file_id")
    if part.get("media_type", "").startswith("image/"):
        return {"type": "input_image", "detail": "auto", "image_url": url, "file_id": file_id}
    return {"type": "input_file", "file_url": url, "file_id": file_id, "filename": part.get("name")}

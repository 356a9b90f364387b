"""The `input` of a response as a question and what was said before it; and back. Knows no route."""

import mimetypes
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from events.agents.replies import HISTORY_MESSAGES
from events.errors import ValidationFailed
from events.messages import SaidBefore
from events.parts import FilePart, GivenPart, Text
from events.wording import invalid
from server.dialects.openai.responsebodies import (
    Contents,
    InputFile,
    InputImage,
    InputItem,
    OutputRefusal,
)
from storage.records import MessageRecord

#: Items of earlier answers, as programs send them back: the agent knows what it thought and did.
AGENTS_OWN = frozenset({"reasoning", "mcp_call", "mcp_list_tools"})


def said_in(given: str | Sequence[InputItem]) -> tuple[list[SaidBefore], list[GivenPart]]:
    """What was said before, as far as an agent is told, and the question. Raises ValidationFailed."""
    if isinstance(given, str):
        given = [InputItem(role="user", content=given)]
    *before, last = given
    if last.type != "message" or last.role != "user":
        raise ValidationFailed("the last one is the question: a user's", field="input")
    question = _parts(last, len(before))
    if not question:
        raise ValidationFailed("say something", field=f"input[{len(before)}].content")
    said = [_said(item, place) for place, item in enumerate(before)]
    return [each for each in said if each is not None and each.parts][-HISTORY_MESSAGES:], question


def _said(item: InputItem, place: int) -> SaidBefore | None:
    """Whoever is not the assistant is the caller."""
    if item.type in AGENTS_OWN:
        return None
    if item.type != "message" or item.role is None:
        raise ValidationFailed("a message", field=f"input[{place}]")
    return SaidBefore(item.role == "assistant", _parts(item, place))


def _parts(item: InputItem, place: int) -> list[GivenPart]:
    field, content = f"input[{place}].content", item.content
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    try:
        contents = msgspec.convert(content or [], Contents)
    except msgspec.ValidationError as error:
        raise invalid(error, field) from error
    parts: list[GivenPart] = []
    for each in contents:
        if isinstance(each, InputImage | InputFile):
            if item.role == "assistant":
                raise ValidationFailed("an assistant says texts", field=field)
            parts.append(_file(each, field))
        else:
            text = each.refusal if isinstance(each, OutputRefusal) else each.text
            parts += [Text(text=text)] if text else []
    return parts


def _file(given: InputImage | InputFile, field: str) -> FilePart:
    url = given.image_url if isinstance(given, InputImage) else given.file_url
    if given.file_id is not None:
        return FilePart(file_id=given.file_id)
    if url is None:
        raise ValidationFailed("an http address, or the id of a file of the session", field=field)
    name = given.filename if isinstance(given, InputFile) else None
    try:
        guessed, _ = mimetypes.guess_type(name or urlsplit(url).path)
    except ValueError as error:
        raise ValidationFailed("no address", field=field) from error
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

"""What a message is made of: the fold of a stream's events into its parts. Pure."""

from collections.abc import Sequence
from typing import Any

from parley_client.errors import Json

#: The id of the text part that nobody named.
OWN = "text"


def shaped(message: Json) -> Json:
    """The message with its `parts`, also where it is one text and the wire leaves them out."""
    return message if message.get("parts") is not None else {**message, "parts": derived(message["content"])}


def derived(content: str | None) -> list[Json]:
    return [{"id": OWN, "type": "text", "text": content}] if content else []


def grown(message: Json, name: str, data: Json) -> Json:
    """`message` after the next event of its stream."""
    parts = message["parts"]
    if name == "stream_chunk":
        added: str = data["content"]
        longer = _longer(parts, data.get("part", OWN), added)
        return {**message, "content": message["content"] + added, "parts": longer}
    if name == "stream_delta":
        return {**message, "parts": _longer(parts, data["part"], data["content"])}
    part = data["part"]
    if part.get("transient"):
        return {**message, "passing": part}
    after = _replaced(parts, part)
    return {**message, "parts": after, "content": text_of(after)}


def text_of(parts: Sequence[Json]) -> str:
    """What a reader of text alone is shown."""
    return "\n\n".join(part["text"] for part in parts if part["type"] == "text")


def _replaced(parts: list[Json], part: Json) -> list[Json]:
    if all(each["id"] != part["id"] for each in parts):
        return [*parts, part]
    return [part if each["id"] == part["id"] else each for each in parts]


def _longer(parts: list[Json], part_id: Any, text: str) -> list[Json]:
    new: Json = {"id": part_id, "type": "text", "text": ""}
    part = next((each for each in parts if each["id"] == part_id), new)
    field = "input_text" if part["type"] == "tool" else "text"
    return _replaced(parts, {**part, field: part.get(field, "") + text})

"""A UI message of a person's as the parts of a message. Stores nothing."""

from collections.abc import Callable, Sequence
from typing import Any

from events.errors import ValidationFailed
from events.parts import Data, Text
from server.dialects.files import GivenMessage, add_file, check_said, part_of


def said_in(parts: Sequence[dict[str, Any]], own: Callable[[str], str | None]) -> GivenMessage:
    """`own` finds the id of a file of ours in its address. Raises ValidationFailed."""
    said = GivenMessage()
    for number, part in enumerate(parts):
        here, kind = f"parts[{number}]", part.get("type")
        if kind == "text":
            text = part.get("text")
            if isinstance(text, str) and text:
                said.parts.append(Text(text=text))
        elif kind == "file":
            name, media_type = part.get("filename"), part.get("mediaType")
            add_file(said, here, own, url=part.get("url"), name=name, media_type=media_type)
        elif isinstance(kind, str) and kind.startswith("data-"):
            said.parts.append(part_of({"name": kind[5:], "data": part.get("data")}, Data, here))
        elif kind != "step-start":
            raise ValidationFailed("a user gives text, files and data", field=f"{here}.type")
    check_said(said)
    return said

"""A user's message of AG-UI as the parts of a message. Stores nothing."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from events.errors import ValidationFailed
from events.parts import Text
from server.dialects.agui.bodies import RunMessage
from server.dialects.files import GivenMessage, add_content, add_file, check_said

#: Contents with a `source`; `binary` is how clients before 1.0 have it.
FILES = frozenset({"image", "audio", "video", "document"})


def said_in(message: RunMessage, own: Callable[[str], str | None]) -> GivenMessage:
    """`own` finds the id of a file of ours in its address. Raises ValidationFailed."""
    said = GivenMessage()
    content = message.content
    if isinstance(content, str):
        said.parts += [Text(text=content)] if content else []
    for number, part in enumerate(content if isinstance(content, list) else ()):
        here, kind = f"content[{number}]", part.get("type")
        if kind == "text":
            text = part.get("text")
            if isinstance(text, str) and text:
                said.parts.append(Text(text=text))
        elif kind in FILES:
            _add(said, here, own, part, part.get("source"))
        elif kind == "binary":
            _add(said, here, own, part, _source_of(part))
        else:
            raise ValidationFailed("text, image, audio, video or document", field=f"{here}.type")
    check_said(said)
    return said


def _source_of(part: dict[str, Any]) -> dict[str, Any]:
    kind = "data" if isinstance(part.get("data"), str) else "url"
    return {"type": kind, "value": part.get(kind), "mimeType": part.get("mimeType")}


def _add(
    said: GivenMessage, here: str, own: Callable[[str], str | None], part: dict[str, Any], source: Any
) -> None:
    if not isinstance(source, dict) or source.get("type") not in ("data", "url"):
        raise ValidationFailed("data or url", field=f"{here}.source")
    value, media_type = source.get("value"), source.get("mimeType")
    metadata = part.get("metadata")
    name = part.get("filename") or (metadata.get("filename") if isinstance(metadata, dict) else None)
    if source["type"] == "url":
        add_file(said, here, own, url=value, name=name, media_type=media_type or _KINDS.get(part["type"]))
        return
    try:
        content = base64.b64decode(value if isinstance(value, str) else "", validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValidationFailed("base64", field=f"{here}.source.value") from error
    add_content(said, here, content, name)


#: Of an address that says nothing of what is there.
_KINDS = {"image": "image/jpeg", "audio": "audio/mpeg", "video": "video/mp4", "document": "application/pdf"}

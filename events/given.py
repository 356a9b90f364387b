"""The parts that a message's sender gives: checked, and as they are stored. Knows no file but by its id."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from events.errors import ValidationFailed
from events.ids import new_id
from events.parts import TEXT, Data, FilePart, GivenPart, Stored, Text, Tool, check, content_of
from storage.parts import file_ids


class Given(NamedTuple):
    content: str
    parts: list[Stored] | None


def given(content: str | UnsetType, parts: Sequence[GivenPart | Tool]) -> Given:
    """What a message says: without parts where all it says is one text. Raises ValidationFailed."""
    ids = _Ids(parts)
    stored = []
    for place, part in enumerate(parts):
        here = f"parts[{place}]"
        check(part, here)
        _check(part, here)
        stored.append(msgspec.to_builtins(part) | {"id": ids.of(part, here)})
    files = file_ids(stored)
    if len(set(files)) < len(files):
        raise ValidationFailed("each file once", field="parts")
    text = content_of(stored)
    if content is not UNSET and content != text:
        raise ValidationFailed("leave it out, or say what the text parts say", field="content")
    return Given(text, None if len(parts) == 1 and isinstance(parts[0], Text) else stored)


class _Ids:
    """Those that parts have, and others for those that have none. The first text without one is the text that
    nobody named."""

    def __init__(self, parts: Sequence[GivenPart | Tool]) -> None:
        self._given = {part.id for part in parts if part.id}
        self._taken: set[str] = set()

    def of(self, part: GivenPart | Tool, here: str) -> str:
        """Raises ValidationFailed."""
        known = part.id or (TEXT if isinstance(part, Text) and self._is_free(TEXT) else new_id("part"))
        if known in self._taken:
            raise ValidationFailed("another part has it", field=f"{here}.id")
        self._taken.add(known)
        return known

    def _is_free(self, part_id: str) -> bool:
        return part_id not in self._given and part_id not in self._taken


def _check(part: GivenPart | Tool, here: str) -> None:
    """What goes for a message, and not for a stream."""
    match part:
        case Text():
            if not part.text:
                raise ValidationFailed("say something", field=f"{here}.text")
        case FilePart():
            if isinstance(part.file_id, str) and isinstance(part.url, str):
                raise ValidationFailed("either file_id or url", field=here)
            if isinstance(part.url, str) and not isinstance(part.media_type, str):
                raise ValidationFailed("is required with url", field=f"{here}.media_type", joint=" ")
        case Data():
            if part.transient is True:
                raise ValidationFailed("a message is kept", field=f"{here}.transient")

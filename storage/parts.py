"""What storage has to know of a message's parts: which files they name, and what an edit makes of their text.
Which parts there are is `events.parts`' to know.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from storage.records import FileRecord, MessageRecord

Parts = Sequence[dict[str, Any]]

#: The id of a text part that an edit adds: the one that nobody named.
TEXT = "text"
#: Questions that an answer takes up, as its parts say: ten times as many as wait in a session at once.
TAKEN_UP = 1000


def file_ids(parts: Parts | None) -> list[str]:
    """Of the session's files that are parts, in order."""
    return [part["file_id"] for part in parts or () if part["type"] == "file" and "file_id" in part]


def has_files(record: MessageRecord) -> bool:
    return record.message_type == "file" or bool(file_ids(record.parts))


def with_files(parts: Parts, files: Mapping[str, FileRecord]) -> list[dict[str, Any]]:
    """File parts say of their files what is known of these."""
    filled = []
    for part in parts:
        file = files.get(part.get("file_id", "")) if part["type"] == "file" else None
        filled.append(part if file is None else part | {"media_type": file.file_type, "name": file.file_name})
    return filled


def edited(parts: Parts, content: str) -> list[dict[str, Any]] | None:
    """The content as one text part, in the place of the first one or behind all others; None if it is the
    only part that is left."""
    left: list[dict[str, Any]] = []
    is_in = False
    for part in parts:
        if part["type"] != "text":
            left.append(part)
        elif not is_in:
            left.append({**part, "text": content})
            is_in = True
    if not is_in:
        left.append({"type": "text", "id": TEXT, "text": content})
    return left if len(left) > 1 else None


def in_order(parts: Parts | None, files: Sequence[FileRecord]) -> Sequence[FileRecord]:
    """A message's files as its parts name them."""
    if len(files) < 2:
        return files
    places = {file_id: place for place, file_id in enumerate(file_ids(parts))}
    return sorted(files, key=lambda file: places.get(file.file_id, len(places)))


def taken_up(parts: Parts | None) -> list[str]:
    """The questions that an answer took up on its way, the first of them."""
    if not parts:
        return []
    steps = (part for part in parts if part["type"] == "step")
    return list(islice((question_id for step in steps for question_id in step.get("steered", ())), TAKEN_UP))

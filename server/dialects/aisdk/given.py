"""A UI message of a person's as the parts of a message; files that lie within it are stored first."""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from events.access import Caller
from events.errors import PayloadTooLarge, ValidationFailed
from events.files import FileService
from events.parts import Data, FilePart, GivenPart, Text
from events.wording import invalid
from storage.records import FileRecord

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.ASCII)
#: Files within one message: as many as a user may upload at once (`events.bounds.RATES`).
FILES = 20


@dataclass
class Brought:
    """A file within a message: its name and bytes, and where it stands among the parts."""

    place: int
    name: str | None
    content: bytes


@dataclass
class GivenMessage:
    """`files` become parts once they are stored."""

    parts: list[GivenPart] = field(default_factory=list)
    files: list[Brought] = field(default_factory=list)

    @property
    def file_count(self) -> int:
        return len(self.files) + sum(isinstance(part, FilePart) for part in self.parts)

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text))


def said_in(parts: Sequence[dict[str, Any]], own: Callable[[str], str | None], limit: int) -> GivenMessage:
    """`own` finds the id of a file of ours in its address; `limit` in bytes, without files. Raises
    ValidationFailed, PayloadTooLarge."""
    said = GivenMessage()
    for number, part in enumerate(parts):
        here, kind = f"parts[{number}]", part.get("type")
        if kind == "text":
            text = part.get("text")
            if isinstance(text, str) and text:
                said.parts.append(Text(text=text))
        elif kind == "file":
            _add_file(said, part, here, own)
        elif isinstance(kind, str) and kind.startswith("data-"):
            said.parts.append(_convert({"name": kind[5:], "data": part.get("data")}, Data, here))
        elif kind != "step-start":
            raise ValidationFailed("a user gives text, files and data", field=f"{here}.type")
    if not said.parts and not said.files:
        raise ValidationFailed("say something", field="messages")
    size = len(msgspec.json.encode(said.parts))
    if size > limit:
        raise PayloadTooLarge.beyond(limit, size)
    return said


def _add_file(said: GivenMessage, part: dict[str, Any], here: str, own: Callable[[str], str | None]) -> None:
    url, name = part.get("url"), part.get("filename")
    if not isinstance(url, str):
        raise ValidationFailed("an address", field=f"{here}.url")
    if url[:5].lower() == "data:":
        if len(said.files) >= FILES:
            raise ValidationFailed(f"at most {FILES} files", field=here)
        content = _content(url, f"{here}.url")
        said.files.append(Brought(len(said.parts) + len(said.files), name, content))
        return
    file_id = own(url)
    given = {"file_id": file_id} if file_id is not None else {"url": url, "media_type": part.get("mediaType")}
    if file_id is None and isinstance(name, str) and name:
        given["name"] = name[:255]
    said.parts.append(_convert(given, FilePart, here))


def _convert(given: dict[str, Any], kind: type[FilePart] | type[Data], here: str) -> GivenPart:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise invalid(error, here) from error


def _content(url: str, here: str) -> bytes:
    """RFC 2397. What it is, its bytes say."""
    head = _DATA_URL.match(url)
    try:
        if head is None:
            raise ValueError
        rest = url[head.end() :]
        if ";base64" in head[2].lower():
            return base64.b64decode(unquote_to_bytes(rest) if "%" in rest else rest, validate=True)
        return unquote_to_bytes(rest)
    except (ValueError, binascii.Error) as error:
        raise ValidationFailed("no data: address", field=here) from error


def own_file(origin: str, root: str) -> Callable[[str], str | None]:
    """Finds the id in the address of a file of this server's."""
    below = f"{root}/files/"

    def own(url: str) -> str | None:
        try:
            parsed = urlsplit(url)
        except ValueError:
            return None
        if parsed.netloc and f"{parsed.scheme}://{parsed.netloc}" != origin:
            return None
        file_id = parsed.path.removeprefix(below)
        return file_id if parsed.path.startswith(below) and file_id and "/" not in file_id else None

    return own


async def stored(files: FileService, caller: Caller, session_id: str, said: GivenMessage) -> list[FileRecord]:
    """Puts the files of a message among its parts. If one cannot be stored, none is. Raises what
    `events.files.FileService.take` does."""
    if not said.files:
        return []
    records: list[FileRecord] = []
    await files.may_upload(caller, session_id)
    try:
        for each in said.files:
            name = each.name if isinstance(each.name, str) else None
            record = await files.take(caller, session_id, name, _whole(each.content))
            records.append(record)
            said.parts.insert(each.place, FilePart(file_id=record.file_id))
    except BaseException:
        forget(files, records)
        raise
    return records


def forget(files: FileService, records: Sequence[FileRecord]) -> None:
    for record in records:
        files.forget(record)


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

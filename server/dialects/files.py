"""Files that lie within a person's message: stored first, they become parts of it. Knows no dialect."""

import base64
import binascii
import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from events.access import Caller
from events.errors import PayloadTooLarge, ValidationFailed
from events.files import FileService
from events.parts import Data, FilePart, GivenPart, Text
from events.waiting import Waiting, no_room
from events.wording import invalid
from storage.errors import StorageUnavailable
from storage.records import FileRecord

T = TypeVar("T")

#: Letters of a `data:` address before its content.
_HEAD = 300
#: Percent signs of its content: each costs a microsecond of the loop. Clients send base64.
_ESCAPES = 10_000
#: Letters of a host, with a user's name.
_HOST = 500
#: Letters behind our own address in which a file's id is looked for.
_NAMED = 200
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


def add_file(
    said: GivenMessage, here: str, own: Callable[[str], str | None], *, url: Any, name: Any, media_type: Any
) -> None:
    """What a client says of a file: its content within the address, or where it is. `own` finds the id of a
    file of ours in its address. Raises ValidationFailed."""
    if not isinstance(url, str):
        raise ValidationFailed("an address", field=f"{here}.url")
    if url[:5].lower() == "data:":
        add_content(said, here, _content_of(url, f"{here}.url"), name)
        return
    file_id = own(url)
    given = {"file_id": file_id} if file_id is not None else {"url": url, "media_type": media_type}
    if file_id is None and isinstance(name, str) and name:
        given["name"] = name[:255]
    said.parts.append(part_of(given, FilePart, here))


def add_content(said: GivenMessage, here: str, content: bytes, name: Any) -> None:
    """Raises ValidationFailed."""
    if len(said.files) >= FILES:
        raise ValidationFailed(f"at most {FILES} files", field=here)
    said.files.append(Brought(len(said.parts) + len(said.files), name, content))


def part_of(given: dict[str, Any], kind: type[FilePart] | type[Data], here: str) -> GivenPart:
    """Raises ValidationFailed."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise invalid(error, here) from error


def check_said(said: GivenMessage) -> None:
    """Raises ValidationFailed."""
    if not said.parts and not said.files:
        raise ValidationFailed("say something", field="messages")


def check_size(said: GivenMessage, metadata: dict[str, Any] | None, limit: int) -> None:
    """All that becomes of a message but its files: `limit` in bytes, as at every door. Raises
    PayloadTooLarge."""
    size = len(msgspec.json.encode(said.parts)) + len(msgspec.json.encode(metadata))
    if size > limit:
        raise PayloadTooLarge.beyond(limit, size)


def _content_of(url: str, here: str) -> bytes:
    """RFC 2397. What it is, its bytes say."""
    comma = url.find(",", 0, _HEAD)
    try:
        if comma < 0 or url.count("%", comma) > _ESCAPES:
            raise ValueError
        rest = url[comma + 1 :]
        if ";base64" in url[:comma].lower():
            return base64.b64decode(unquote_to_bytes(rest) if "%" in rest else rest, validate=True)
        return unquote_to_bytes(rest)
    except (ValueError, binascii.Error) as error:
        raise ValidationFailed("no data: address", field=here) from error


def own_file(origin: str, root: str) -> Callable[[str], str | None]:
    """Finds the id in the address of a file of this server's, however long it is."""
    below = f"{root}/files/"

    def own(url: str) -> str | None:
        path = url.removeprefix(origin)
        if not path.startswith(below):
            return None
        file_id = re.split("[?#]", path[len(below) : len(below) + _NAMED], maxsplit=1)[0]
        return file_id if file_id and "/" not in file_id else None

    return own


def kind_of(address: str, field: str) -> str | None:
    """The media type that the end of a name or of an address tells. Raises ValidationFailed: no address."""
    host = re.split("[/?#]", address.partition("//")[2], maxsplit=1)[0]
    try:
        if len(host) > _HOST:  # it would be normalised, which takes long
            raise ValueError
        return mimetypes.guess_type(urlsplit(address).path.rpartition("/")[2][-100:])[0]
    except ValueError as error:
        raise ValidationFailed("no address", field=field) from error


async def stored(
    files: FileService,
    caller: Caller,
    session_id: str,
    said: GivenMessage,
    count: Callable[[], Awaitable[None] | None],
    waiting: Waiting,
) -> list[FileRecord]:
    """Puts the files of a message among its parts; `count` is asked for each. Their bytes are `waiting` until
    the last is stored: a picture waits for its thumbnail. If one cannot be stored, none is. Raises what
    `events.files.FileService.take` does."""
    if not said.files:
        return []
    size = sum(len(each.content) for each in said.files)
    if not waiting.add(caller.account, size):
        raise no_room()
    try:
        return await _stored(files, caller, session_id, said, count)
    finally:
        waiting.drop(caller.account, size)


async def _stored(
    files: FileService,
    caller: Caller,
    session_id: str,
    said: GivenMessage,
    count: Callable[[], Awaitable[None] | None],
) -> list[FileRecord]:
    records: list[FileRecord] = []
    await files.may_upload(caller, session_id)
    try:
        for each in said.files:
            waiting = count()
            if waiting is not None:
                await waiting
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


async def asked_with(files: FileService, records: Sequence[FileRecord], asking: Awaitable[T]) -> T:
    """What a question with these files comes to. If it is refused, the files go too. Raises what it does."""
    try:
        return await asking
    except StorageUnavailable:
        raise  # it may have been committed
    except Exception:
        forget(files, records)
        raise


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

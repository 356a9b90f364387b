"""What models are told of files: pictures made small, texts, PDFs; read for one answer, within bounds.

Knows no API. Of a file that is not here its name is told (`events/agents/toldfiles.py`).
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

from msgspec import UNSET, Struct

from events.agents.base import Request
from events.agents.config import OpenAIConfig
from events.errors import ChatError
from events.filetypes import IMAGES
from events.schema import File, Message
from events.waiting import Waiting
from storage.errors import StorageUnavailable

PDF, TEXT, JPEG = "application/pdf", "text/plain", "image/jpeg"
#: What every model that takes pictures can read at an address.
ADDRESSED = frozenset({JPEG, "image/png", "image/webp", "image/gif"})
#: Bytes of one file: a PDF that grows by a third in its request; a text, of which a window holds less.
MOST_PDF, MOST_TEXT = 3 * 1024 * 1024, 256 * 1024
#: Characters of all that goes into one request. Every try sends it again, and every later question.
MOST_SENT = 4 * 1024 * 1024
#: Bytes of all that the answers of a node hold, a fifth of them one account's alone: a file stays in its
#: request until the answer has ended, and is there twice.
MOST_HELD, TWICE = 128 * 1024 * 1024, 2
#: Tokens that a picture is counted for, about as OpenAI counts 1024 pixels square; bytes of a PDF for one.
PICTURE_TOKENS, PDF_BYTES_PER_TOKEN = 1000, 50
#: Bytes of pictures that are kept made small, for the next question of the same session.
KEPT = 8 * 1024 * 1024

log = logging.getLogger("parley.agents")

Kind = Literal["picture", "pdf", "text"]


class Attachment(Struct, frozen=True):
    """`content` is a text, or an address: ours, somebody's, or one that holds the content (`data:`)."""

    kind: Kind
    content: str
    tokens: int


#: By a file's id, or by its address where it lies elsewhere.
Attached = dict[str, Attachment]


class Pictures(Protocol):
    async def shown_to_models(
        self, content: AsyncIterator[bytes], media_type: str, owner: str, side: int
    ) -> bytes | None:
        """A JPEG at most `side` wide and high; None where there can be none now. Raises ChatError."""
        ...


class FileContents(Protocol):
    def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]: ...


class ModelFiles:
    """`address` gives one of ours that needs no token, by a file's id; None: there is none."""

    def __init__(
        self, contents: FileContents, pictures: Pictures, address: Callable[[str], str] | None = None
    ) -> None:
        self._contents, self._pictures, self._address = contents, pictures, address
        self._kept: dict[tuple[str, int], bytes] = {}
        self._held = Waiting(MOST_HELD)

    def check(self, config: OpenAIConfig) -> None:
        """Raises ValueError."""
        if config.files == "address" and self._address is None:
            raise ValueError("files: an address needs PUBLIC_URL")

    def wanted(self, request: Request, config: OpenAIConfig) -> bool:
        """Whether there is anything to gather."""
        return next(_files(request, _most(config)), None) is not None

    async def gather(self, request: Request, config: OpenAIConfig, attached: Attached) -> None:
        """Fills `attached`, the newest files first. One that cannot be read, or for which there is no room,
        is left out. What is attached counts until it is given back to `drop`."""
        left, account = MOST_SENT, _account(request)
        for owner, part in _files(request, _most(config)):
            key = key_of(part)
            try:
                made = await self._made(part, owner, config)
            except (StorageUnavailable, LookupError, ChatError) as error:
                log.warning("file %s is told by its name: %s", key, error)
                continue
            if made is None or key in attached or len(made.content) > left:
                continue
            if not self._held.add(account, TWICE * len(made.content)):
                log.warning("file %s is told by its name: too much is told at a time", key)
                continue
            left -= len(made.content)
            attached[key] = made

    def drop(self, request: Request, attached: Attached) -> None:
        """The answer has ended."""
        size = sum(TWICE * len(each.content) for each in attached.values())
        if size:
            self._held.drop(_account(request), size)

    async def _made(self, part: dict[str, Any], owner: str, config: OpenAIConfig) -> Attachment | None:
        media_type = part.get("media_type") or ""
        file_id = part.get("file_id")
        if file_id is None:
            # Whoever fetches it is led to wherever its sender likes: only where the operator lets it fetch.
            may = config.files == "address" and media_type.startswith("image/") and "url" in part
            return Attachment("picture", part["url"], PICTURE_TOKENS) if may else None
        if media_type.startswith(TEXT):
            return await self._text(file_id, media_type)
        if media_type == PDF and config.pdf:
            return await self._pdf(file_id)
        if media_type in ADDRESSED and config.files == "address" and self._address is not None:
            return Attachment("picture", self._address(file_id), PICTURE_TOKENS)
        if media_type in IMAGES:
            return await self._picture(file_id, media_type, owner, config.image_side)
        return None

    async def _text(self, file_id: str, media_type: str) -> Attachment:
        content = await self._read(file_id, MOST_TEXT)
        encoding = media_type.partition("charset=")[2] or "utf-8"
        text = content.decode(encoding, "ignore").removeprefix("\ufeff").replace("\0", "")
        return Attachment("text", text, 0)

    async def _pdf(self, file_id: str) -> Attachment | None:
        content = await self._read(file_id, MOST_PDF + 1)
        if len(content) > MOST_PDF:
            return None
        address = await asyncio.to_thread(_held, content, PDF)
        return Attachment("pdf", address, len(content) // PDF_BYTES_PER_TOKEN)

    async def _picture(self, file_id: str, media_type: str, owner: str, side: int) -> Attachment | None:
        small = self._kept.pop((file_id, side), None)
        if small is None:
            content = self._contents.get(file_id)
            small = await self._pictures.shown_to_models(content, media_type, owner, side)
        if small is None:
            return None
        self._keep((file_id, side), small)
        return Attachment("picture", _held(small, JPEG), PICTURE_TOKENS)

    def _keep(self, key: tuple[str, int], small: bytes) -> None:
        """Those that were used last."""
        self._kept[key] = small
        while sum(map(len, self._kept.values())) > KEPT:
            del self._kept[next(iter(self._kept))]

    async def _read(self, file_id: str, most: int) -> bytes:
        return b"".join([piece async for piece in self._contents.get(file_id, 0, most)])


def files_of(said: Message) -> list[dict[str, Any]]:
    """A message's file parts; those of one that was posted before messages had parts. Only a file that the
    message has is named by its id: a stream's parts say what their sender likes."""
    files = {file.file_id: file for file in said.files} if said.files is not UNSET else {}
    if said.parts is UNSET:
        return [_posted(file) for file in files.values()]
    parts: list[Any] = said.parts
    return [_checked(part, files.get(part.get("file_id"))) for part in parts if part["type"] == "file"]


def key_of(part: Mapping[str, Any]) -> str:
    """Its file's id, or its address; "" where it has neither."""
    key: str = part.get("file_id") or part.get("url") or ""
    return key


def _posted(file: File) -> dict[str, Any]:
    return {"file_id": file.file_id, "media_type": file.file_info.type, "name": file.file_info.name}


def _checked(part: dict[str, Any], file: File | None) -> dict[str, Any]:
    if file is not None:
        return part | _posted(file)
    return {name: value for name, value in part.items() if name != "file_id"}


def _most(config: OpenAIConfig) -> int:
    return config.max_files if config.files != "name" else 0


def _account(request: Request) -> str:
    return f"{request.message.sender_type}:{request.message.sender_id}"


def _files(request: Request, most: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """With who gave each."""
    for said in (request.message, *reversed(request.history)):
        for part in files_of(said) if said.sender_type != "agent" else ():
            if most == 0:
                return
            most -= 1
            yield f"{said.sender_type}:{said.sender_id}", part


def _held(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"

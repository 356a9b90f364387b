"""A multipart body (RFC 7578) as its parts, read as they arrive. Knows no file and no session."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from events.errors import PayloadTooLarge, ValidationFailed
from server.multipart import Malformed, PartEvent, PartReader

#: Seconds of waiting in which `LEAST` bytes have to come, and seconds for the whole body: what is under way
#: counts against others, and 2 KiB a second is what the slowest of networks have.
SPAN, LEAST, WHOLE = 30.0, 64 * 1024, 1800.0
#: Parts of a body, and what boundaries and headers may add to a body.
PARTS, OVERHEAD = 16, 256 * 1024


@dataclass(slots=True)
class Part:
    """`filename` is None for a plain field. What is not read of it when the next part is asked for is thrown
    away."""

    name: str
    filename: str | None
    chunks: AsyncIterator[bytes]


class Fields:
    """The plain fields that a call knows, as bytes until they are asked for: `limit` is for all of them
    together, `came` is told how many bytes a piece has, before it is kept."""

    def __init__(self, limit: int, came: Callable[[int], None]) -> None:
        self._limit, self._came = limit, came
        self._size = 0
        self._kept: dict[str, bytes] = {}

    async def take(self, part: Part) -> None:
        """The last one of a name counts. Raises PayloadTooLarge, and what `came` raises."""
        data = bytearray()
        async for chunk in part.chunks:
            self._size += len(chunk)
            if self._size > self._limit:
                raise PayloadTooLarge(f"{part.name}: at most {self._limit} bytes, with the other fields")
            self._came(len(chunk))
            data += chunk
        self._kept[part.name] = bytes(data)

    def text(self, name: str) -> str | None:
        """None: it was not sent. Raises ValidationFailed."""
        if name not in self._kept:
            return None
        try:
            text = self._kept[name].decode()
        except UnicodeDecodeError as error:
            raise ValidationFailed("not UTF-8", field=name) from error
        if "\0" in text:
            raise ValidationFailed("no NUL", field=name)
        return text


class Multipart:
    """The parts of a request's body. Holds no more of it than came in one read."""

    def __init__(self, request: Request, limit: int) -> None:
        """`limit`: bytes of the whole body, but for boundaries and headers. Raises ValidationFailed,
        PayloadTooLarge (the client says itself how much it is)."""
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ValidationFailed("multipart/form-data with a boundary", field="Content-Type")
        self._limit = limit
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit + OVERHEAD:
            raise PayloadTooLarge(f"at most {limit} bytes")
        self._request = request
        try:
            self._reader = PartReader(boundary)
        except Malformed as error:
            raise ValidationFailed("no boundary that can be used", field="Content-Type") from error
        self._coming = self._read()

    async def _read(self) -> AsyncIterator[PartEvent]:
        size = 0
        body = self._request.stream()
        clock = asyncio.get_running_loop().time
        end = clock() + WHOLE
        left, come = SPAN, 0  # of the present span
        try:
            while True:
                # Around the reading alone: the handling of a piece has limits of its own.
                began = clock()
                async with asyncio.timeout(min(left, end - began)):
                    chunk = await anext(body, None)
                if chunk is None:
                    break
                left, come = left - (clock() - began), come + len(chunk)
                if come >= LEAST:
                    left, come = SPAN, 0
                size += len(chunk)
                if size > self._limit + OVERHEAD:
                    raise PayloadTooLarge(f"at most {self._limit} bytes")
                for event in self._reader.feed(chunk):
                    yield event
        except TimeoutError as error:
            raise ValidationFailed("the body came too slowly") from error
        except Malformed as error:
            raise ValidationFailed("not a multipart body") from error
        except ClientDisconnect as error:
            raise ValidationFailed("the body is cut off") from error

    async def parts(self) -> AsyncIterator[Part]:
        """Raises ValidationFailed (no multipart, cut off), PayloadTooLarge."""
        count = 0
        async for kind, data in self._coming:
            if kind == "finish":
                return
            if kind != "part":
                continue
            count += 1
            if count > PARTS:
                raise ValidationFailed(f"at most {PARTS} parts")
            _, options = parse_options_header(data)
            name = options.get(b"name", b"").decode(errors="replace")
            filename = options.get(b"filename")
            yield Part(name, None if filename is None else filename.decode(errors="replace"), self._content())
        raise ValidationFailed("the body is cut off")

    async def _content(self) -> AsyncIterator[bytes]:
        async for kind, data in self._coming:
            if kind == "end":
                return
            yield data
        raise ValidationFailed("the body is cut off")

"""A small reverse proxy that can be set up as wrongly as real ones are."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

Headers = list[tuple[str, str]]


PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<!doctype html>"
)


class BrokenProxy:
    """Listens on loopback and passes each request on to the next of `targets` (ports), by turns.

    `upgrade=False` forgets the hop-by-hop headers of an upgrade, as a proxy does that was not told;
    `read_timeout` closes what the upstream leaves silent for so many seconds; `buffer` holds a response
    back until it is whole; `strip_query` cuts every address at its `?`; `drop` are headers that vanish;
    below the paths of `pages` it answers 200 with a page of its own, as `try_files … /index.html` does.
    """

    def __init__(
        self,
        targets: Sequence[int],
        *,
        upgrade: bool = True,
        read_timeout: float | None = None,
        buffer: bool = False,
        strip_query: bool = False,
        drop: Sequence[str] = (),
        pages: Sequence[str] = (),
    ) -> None:
        self._targets = itertools.cycle(targets)
        self._upgrade = upgrade
        self._read_timeout = read_timeout
        self._buffer = buffer
        self._strip_query = strip_query
        self._drop = {name.lower() for name in drop}
        self._pages = tuple(pages)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, then the connection is closed."""
        upstream: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (each.partition(":") for each in rest)]
            if self._pages and line.split(" ")[1].startswith(self._pages):
                writer.write(PAGE)
                await writer.drain()
                return
            upgrading = self._upgrade and any(name.lower() == "upgrade" for name, _ in headers)
            source, upstream = await asyncio.open_connection("127.0.0.1", next(self._targets))
            upstream.write(self._request(line, headers, upgrading))
            back = asyncio.create_task(self._back(source, writer, self._buffer and not upgrading))
            forth = asyncio.create_task(self._forth(reader, upstream))
            await asyncio.wait((back, forth), return_when=asyncio.FIRST_COMPLETED)
            for task in (back, forth):
                task.cancel()
            await asyncio.gather(back, forth, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.close()
                    with suppress(OSError):
                        await end.wait_closed()

    def _request(self, line: str, headers: Headers, upgrading: bool) -> bytes:
        if self._strip_query:
            method, address, version = line.split(" ")
            line = f"{method} {address.partition('?')[0]} {version}"
        hop = {"connection", *(() if upgrading else ("upgrade",))}
        kept = [each for each in headers if each[0].lower() not in hop | self._drop]
        kept.append(("Connection", "Upgrade" if upgrading else "close"))
        kept.append(("X-Forwarded-For", "127.0.0.1"))
        return "\r\n".join([line, *(f"{name}: {value}" for name, value in kept), "", ""]).encode("latin-1")

    async def _forth(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            upstream.write(piece)
            await upstream.drain()

    async def _back(self, source: asyncio.StreamReader, writer: asyncio.StreamWriter, hold: bool) -> None:
        held, begun = b"", False
        while True:
            try:
                async with asyncio.timeout(self._read_timeout):
                    piece = await source.read(65536)
            except TimeoutError:
                if not begun:
                    writer.write(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                return
            held, begun = held + piece, True
            if hold and piece:
                continue
            writer.write(held)
            await writer.drain()
            if not piece:
                return
            held = b""

"""A TCP proxy between a client and a server, with the faults of a bad network."""

import asyncio
import socket
import struct
from typing import Self

from tests.support.processes import free_port

_CHUNK = 65536


class _Link:
    """One forwarded connection."""

    def __init__(self, client: asyncio.StreamWriter, upstream: asyncio.StreamWriter) -> None:
        self.client = client
        self.upstream = upstream
        self.abandoned = False
        self.silent = False
        self.over = asyncio.Event()


class Proxy:
    """Forwards to `target`, a port on loopback. Use it in `async with`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.delay = 0.0
        """Seconds that every piece of data waits, in both directions."""
        self.refusing = False
        """New connections are reset at once."""
        self.accepted = 0
        """How many have come so far."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_after: int | None = None
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open towards the server, half-open ones too."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        # asyncio leaves open what it accepts while its server is being closed: first nobody comes any more.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(5):  # who was accepted just now has a task then
            await asyncio.sleep(0)
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # The faults.

    def cut(self) -> None:
        """Reset every connection, towards both sides."""
        for link in list(self._links):
            link.over.set()
            _reset(link.client)
            _reset(link.upstream)

    def cut_after(self, octets: int) -> None:
        """Reset everything once that many more bytes went from the server to clients:
        in the middle of a frame, if the count says so.
        """
        self._cut_after = octets

    def freeze(self) -> None:
        """Nothing is forwarded, nothing is closed: old connections and new ones hang."""
        self._flowing.clear()

    def resume(self) -> None:
        """What was held back by `freeze` is forwarded now."""
        self._flowing.set()

    def half_open(self) -> None:
        """Reset the clients' sides of all connections; the server's stay open and silent, as
        when a phone left its network. Connections to come flow.
        """
        for link in self._links:
            link.abandoned = True
            _reset(link.client)

    def silence(self) -> None:
        """What is open hears nothing any more, and is not closed, as when an address moves to another
        machine. Connections to come flow, to `target` as it is then.
        """
        for link in self._links:
            link.silent = True

    # Forwarding.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        try:
            await self._flowing.wait()
            if self.refusing:
                _reset(writer)
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        link = _Link(writer, up_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up_writer, link, downstream=False))
                both.create_task(self._pump(up_reader, writer, link, downstream=True))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(link)
            _reset(writer)
            _reset(up_writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, *, downstream: bool
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if link.silent:
                    continue
                if self.delay:
                    await asyncio.sleep(self.delay)
                if downstream and self._cut_after is not None:
                    if len(data) >= self._cut_after:
                        await _last_words(writer, data[: self._cut_after])
                        self._cut_after = None
                        self.cut()
                        return
                    self._cut_after -= len(data)
                writer.write(data)
                await writer.drain()
            # An end waits behind what is held back, like any data.
            await self._flowing.wait()
            if writer.can_write_eof() and not link.abandoned:
                writer.write_eof()
                return
        except OSError:
            await self._flowing.wait()
            if not link.abandoned:
                raise
        # Half-open: the other side hears nothing of this, ever.
        await link.over.wait()


async def _last_words(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Bytes that are to arrive before a reset, which would discard what is still queued."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.05)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a network that lost its state does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0 and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

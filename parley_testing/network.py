"""A loopback proxy that can fail, for `parley_testing`. Runs in one event loop; knows bytes alone."""

import asyncio
import socket
import struct

_PIECE = 65_536


class _Line:
    """One connection: the client's writer, the server's, and whether it still flows."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.abandoned = False


class Network:
    """Forwards `port` to `target`. Its methods are for the loop in which it was opened."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # --- faults

    def cut(self) -> None:
        for line in list(self._lines):
            _reset(line.client)
            _reset(line.server)
            line.flowing.set()

    def half_open(self) -> None:
        for line in self._lines:
            line.abandoned = True
            _reset(line.client)

    def stall(self) -> None:
        for line in self._lines:
            line.flowing.clear()

    def refuse(self) -> None:
        self._refusing = True
        self.cut()

    def flow(self) -> None:
        self._refusing = False
        for line in self._lines:
            line.flowing.set()

    # --- forwarding

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refusing:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        line = _Line(writer, up_writer)
        self._lines.add(line)
        try:
            await asyncio.gather(
                self._forward(reader, up_writer, line, down=False),
                self._forward(up_reader, writer, line, down=True),
            )
        finally:
            self._lines.discard(line)
            _reset(writer)
            _reset(up_writer)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line, *, down: bool
    ) -> None:
        """Until the end of one direction, which is passed on."""
        try:
            while data := await reader.read(_PIECE):
                if down:
                    await line.flowing.wait()
                if not line.abandoned:
                    writer.write(data)
                    await writer.drain()
            if not line.abandoned and writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except OSError:
            if not line.abandoned:
                # The other side hears of it.
                _reset(line.server if down else line.client)
                return
        if line.abandoned and not down:
            # Half-open: the client is gone, and the server is never told. Its own end comes by the other way.
            return


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a network that lost its state does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0 and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

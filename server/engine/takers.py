"""Connections whose answers wait for their clients to take them: who takes too little is cut off. One timer
for all of a server's. Knows no request."""

import asyncio
import fcntl
import struct
import termios
from typing import Any, Final

#: Bytes that have to leave, while any wait, in so many seconds: as slow as the slowest of networks.
LEAST: Final = 64 * 1024
SPAN = 30.0
#: Looks within a span: it may last so much longer until somebody is found.
LOOKS: Final = 6


def left(transport: Any) -> int:
    """Bytes that the peer's kernel does not have. A full buffer of our own kernel's, which may be megabytes,
    takes more only when a third of it is free: until then a slow reader's progress shows there alone."""
    waits: int = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    try:
        return waits + int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    except (AttributeError, OSError, ValueError):
        return waits  # not a socket, or a closed one


class Takers:
    """Of transports, from when one has too much to write until that has left."""

    def __init__(self) -> None:
        self._waiting: dict[Any, tuple[int, float]] = {}  # bytes that waited, and when
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # its time, by the loop

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, transport: Any) -> None:
        loop = asyncio.get_running_loop()
        self._waiting[transport] = left(transport), loop.time()
        if self._timer is None:
            self._wait(loop)

    def discard(self, transport: Any) -> None:
        """All has left, or the connection is gone. Idempotent."""
        self._waiting.pop(transport, None)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + SPAN / LOOKS
        self._timer = loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        if now - self._due > SPAN / LOOKS:  # the process stood still: nobody could take anything
            self._waiting = {one: (left(one), now) for one in self._waiting}
        for transport, (waited, since) in list(self._waiting.items()):
            if now - since < SPAN:
                continue
            waits = left(transport)
            if transport.get_write_buffer_size() and waited - waits < min(LEAST, waited):
                self.discard(transport)
                transport.abort()
            else:
                self._waiting[transport] = waits, now
        if self._waiting:
            self._wait(loop)

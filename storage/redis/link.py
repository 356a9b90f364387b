"""One RESP connection: what is sent in a turn of the loop leaves in one write, replies come in order.

Knows no address, no script and no channel. A connection of our own instead of redis-py's: commands of many
callers share it, half the CPU per command, and one time limit covers all that waits (docs/adr/0003).
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from storage.errors import BusUnavailable

Argument = bytes | str | int | float
#: What a reply means to its caller.
Convert = Callable[[Any], Any]
#: Error replies after which the connection is of no use: another server is the master, scripts are gone.
_FATAL = frozenset(("READONLY", "LOADING", "NOSCRIPT", "MASTERDOWN", "NOAUTH", "UNBLOCKED"))
#: Before Redis 7 the error of a command in a script stands inside of the script's.
_IN_SCRIPT = re.compile(r"ERR Error running script .*?-([A-Z]+) ", re.DOTALL)
#: A script's command that the user may not give, where its error has no code of its own.
_NO_RIGHT = ("The user executing the script can't", "ACL failure in script:")


class ReplyError(BusUnavailable):
    """Redis answered a command with an error."""


class Link(asyncio.Protocol):
    """`timeout` in seconds: the oldest command that waits longer takes the connection down with it.
    `on_refused` is told of what Redis says that this user may not do."""

    def __init__(self, timeout: float, on_refused: Callable[[str], None] = lambda text: None) -> None:
        self._timeout = timeout
        self._on_push: Callable[[Any], None] | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: deque[tuple[asyncio.Future[Any], float, Convert | None]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False
        self.on_closed: Callable[[], None] = lambda: None
        self.on_refused = on_refused

    # --- commands

    def call(self, *words: Argument, convert: Convert | None = None) -> "asyncio.Future[Any]":
        """The reply, converted; the future fails with StorageUnavailable, also where nobody looks at it."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.closed:
            _fail(future, BusUnavailable("no connection to Redis"))
            return future
        self.send(*words)
        self._waiting.append((future, self._loop.time() + self._timeout, convert))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)
        return future

    def push_to(self, on_push: Callable[[Any], None] | None) -> None:
        """From here on it is a subscriber's connection: every reply goes there."""
        self._on_push = on_push

    def send(self, *words: Argument) -> None:
        """A command of a pushing connection: its reply is pushed."""
        if self.closed:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # stub: memoryview

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self.closed:
            self._transport.write(b"".join(out))

    def _check(self) -> None:
        """Replies come in order: if the oldest is overdue, nothing behind it will come in time."""
        self._timer = None
        if not self._waiting or self.closed:
            return
        left = self._waiting[0][1] - self._loop.time()
        if left <= 0:
            self.close("Redis did not answer in time")
        else:
            self._timer = self._loop.call_later(left, self._check)

    @property
    def overdue(self) -> float:
        """Seconds that the oldest command has been waiting."""
        return max(0.0, self._loop.time() - self._waiting[0][1] + self._timeout) if self._waiting else 0.0

    # --- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if self._on_push is not None:
                    self._on_push(reply)
                else:
                    self._answer(reply)
                if self.closed:
                    return
        except hiredis.ProtocolError as error:
            self.close(f"Redis speaks nonsense: {error}")

    def _answer(self, reply: Any) -> None:
        if not self._waiting:
            self.close("Redis sent an answer without a question")
            return
        future, _, convert = self._waiting.popleft()
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            _fail(future, ReplyError(text))
            code = error_code(text)
            if code == "NOPERM":
                self.on_refused(text)
            if code in _FATAL:
                self.close(text)
        elif not future.done():
            future.set_result(reply if convert is None else convert(reply))

    def connection_lost(self, exc: Exception | None) -> None:
        self.close("the connection to Redis broke")

    def close(self, why: str = "closed") -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for future, _, _ in waiting:
            _fail(future, BusUnavailable(why))
        self.on_closed()


def error_code(text: str) -> str:
    """What an error reply is about, also where a command in a script failed."""
    if any(words in text for words in _NO_RIGHT):
        return "NOPERM"
    found = _IN_SCRIPT.match(text)
    return found[1] if found else text.partition(" ")[0]


_NOTHING: Any = object()


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # fire and forget is allowed

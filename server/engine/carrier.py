"""What carries an Engine.IO session's bytes out: the answers to its polls, or its WebSocket; and the change
from the one to the other. Frames are made for WebSocket; for long polling they become a payload here.
"""

import asyncio
from enum import Enum
from typing import Final

from events.outbox import Sink
from server.engine import polling, reasons
from server.engine.context import Context
from server.engine.handshake import Transport
from server.engine.protocol import WebSocketProtocol

#: Polls answered at once, and empty, while their client goes over to its WebSocket: what waits goes there.
#: Were a CONNECT answered before, and its WebSocket broke then, the official client would neither poll nor
#: go over. An upgrade that takes longer does not come about, and holds nothing up.
AT_ONCE: Final = 10
#: Seconds for which each of the further ones may wait.
LAST_POLL: Final = 0.1


class Stage(Enum):
    """Over what a session goes; UPGRADING is still long polling."""

    POLLING = 1
    UPGRADING = 2
    WEBSOCKET = 3


class Carrier(Sink):
    """The writing end of a session."""

    __slots__ = ("_empty_polls", "_held", "closing", "context", "poll", "protocol", "slow", "stage")

    def __init__(self, context: Context) -> None:
        super().__init__(context.flusher)
        self.context = context
        self.protocol: WebSocketProtocol | None = None
        self.poll: asyncio.Future[bytes] | None = None  # a long-polling request that waits
        self.stage = Stage.POLLING
        self.closing = False
        self.slow = False  # the peer reads slower than we write
        self._empty_polls = 0  # that will still be answered at once, in an upgrade
        self._held = 0  # CONNECTs that are being decided

    @property
    def transport(self) -> Transport:
        return "websocket" if self.stage is Stage.WEBSOCKET else "polling"

    @property
    def upgraded(self) -> bool:
        return self.stage is Stage.WEBSOCKET

    @property
    def upgradable(self) -> bool:
        return self.stage is Stage.POLLING

    def end(self, reason: reasons.Reason) -> object:
        """The session is over."""
        raise NotImplementedError

    # --- writing

    def write(self, data: bytes) -> None:
        if self.protocol is not None:
            self.protocol.write(data)
        elif not self.closing:
            self._write_poll(data)

    def _write_poll(self, data: bytes) -> None:
        """Answer the request that waits; what comes before the next one waits in its turn."""
        poll, self.poll = self.poll, None
        self.pause(self.context.outbox_limit)
        if poll is None or poll.done():
            assert self.backlog is not None
            self.backlog.put_first(data)
        else:
            poll.set_result(polling.payload(data))

    def pause(self, limit: int) -> None:
        if self.backlog is None:
            kind = polling.PollBacklog if self.protocol is None else polling.Backlog
            self.backlog = kind(limit, self.cut, self.flusher.observer, self.holds)
        self.backlog.paused = True

    def pause_writing(self) -> None:
        self.slow = True
        if not self.closing:
            self.pause(self.context.outbox_limit)

    def resume_writing(self) -> None:
        self.slow = False
        self.sent()
        self._resume()

    @property
    def written(self) -> int:
        return 0 if self.protocol is None else self.protocol.transport.get_write_buffer_size()

    def _resume(self) -> None:
        """Let what waits go, unless something is still in its way."""
        if self.closing or self._held or self.slow or self._empty_polls:
            return
        if self.protocol is not None or self.poll is not None:
            self.resume()

    def hold(self) -> None:
        """From here on nothing leaves, until `release`: a CONNECT is being decided."""
        self._held += 1
        if self.waits is not None and (out := self.leaving()):
            self.write(out)
        self.pause(self.context.outbox_limit)

    def release(self, first: bytes) -> None:
        """What was held leaves, `first` before it, in one write."""
        self._held -= 1
        if self.closing:
            return
        assert self.backlog is not None
        if first:
            self.backlog.put_first(first)
        self._resume()

    # --- long polling

    def begin_poll(self) -> asyncio.Future[bytes] | None:
        """A GET: what it is answered with. None for one too many, which ends the session."""
        if self.poll is not None:
            self.end(reasons.TRANSPORT_ERROR)
            return None
        loop = asyncio.get_running_loop()
        poll: asyncio.Future[bytes] = loop.create_future()
        if self._empty_polls:
            self._empty_polls -= 1
            poll.set_result(polling.NOOP)
            return poll
        self.poll = poll
        self._resume()
        if self.stage is Stage.UPGRADING and not poll.done():
            loop.call_later(LAST_POLL, self._end_poll, poll)
        return poll

    def _end_poll(self, poll: asyncio.Future[bytes]) -> None:
        if self.poll is poll:
            self.poll = None
            self.pause(self.context.outbox_limit)
            out = self.leaving()
            if not poll.done():
                poll.set_result(polling.payload(out) if out else polling.NOOP)

    def hung_up(self) -> None:
        """On a request that waited (Node: "poll connection closed prematurely")."""
        if self.poll is not None:
            poll, self.poll = self.poll, None
            if not poll.done():
                poll.set_result(polling.NOOP)  # for nobody; but its task would wait forever
            self.end(reasons.TRANSPORT_ERROR)

    def stopping(self) -> None:
        self.end(reasons.SERVER_DISCONNECT)

    # --- from long polling to a WebSocket

    def begin_upgrade(self) -> None:
        self.stage, self._empty_polls = Stage.UPGRADING, AT_ONCE

    def probed(self) -> None:
        """The client's WebSocket works: it goes over to it when no request waits any more."""
        if self.poll is not None:
            self._end_poll(self.poll)

    def upgrade_failed(self) -> None:
        self.stage, self._empty_polls = Stage.POLLING, 0
        self._resume()

    def go_over(self, protocol: WebSocketProtocol, first: bytes) -> bytes:
        """To a WebSocket: from the beginning, or in an upgrade. What leaves first, behind `first`."""
        poll, self.poll = self.poll, None
        if poll is not None and not poll.done():
            poll.set_result(polling.NOOP)
        backlog, self.backlog = self.backlog, None
        self.protocol = protocol
        self.stage, self._empty_polls = Stage.WEBSOCKET, 0
        if self._held:
            self.pause(self.context.outbox_limit)
            assert self.backlog is not None
            while backlog is not None and (data := backlog.take()):
                self.backlog.add(data)
        else:
            while backlog is not None and (data := backlog.take()):
                first += data
        return first

    # --- the end

    def say_last(self, abort: bool, answer: bytes, close: tuple[int, str]) -> bytes:
        """What has not left leaves, and the connection is closed; with long polling, what nobody waits for
        is returned."""
        out = self.leaving()
        backlog, self.backlog = self.backlog, None
        protocol, self.protocol = self.protocol, None
        poll, self.poll = self.poll, None
        last = out or b""
        if abort:
            if protocol is not None:
                protocol.abort()
            if poll is not None and not poll.done():
                poll.set_result(answer)
            return b""
        if protocol is not None:
            if out:
                protocol.write(out)
            while backlog is not None and not self._held and (data := backlog.take()):
                protocol.write(data)
            protocol.close(*close)
            return b""
        if self.stage is Stage.WEBSOCKET:
            return b""
        while backlog is not None and not self._held and (data := backlog.take()):
            last += data
        if poll is None:
            return last
        if not poll.done():
            rest = polling.payload(last) + polling.SEPARATOR if last else b""
            poll.set_result(rest + answer)
        return b""

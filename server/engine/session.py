"""One Engine.IO session (protocol 4): the writing end of its connection, and the packets that come in.

No queue, task or timer of its own: what is sent is in `out` until the loop's turn ends, deadlines are the
wheel's, and a task exists only while something that came in has to wait. Frames are made for WebSocket;
for long polling they are turned into a payload here. Knows Socket.IO only as `engine.message`.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from engineio import exceptions as eio_exceptions
from engineio import packet as eio_packet

from events.outbox import Sink
from server.engine import frames, polling
from server.engine.asgi import Scope
from server.engine.handshake import Handshake
from server.engine.heartbeat import Beating
from server.engine.protocol import WebSocketProtocol
from server.engine.strangers import HEAD

if TYPE_CHECKING:
    from server.engine.engine import Engine
    from server.engine.rooms import Client

#: Packets that wait behind one whose handling takes time, and their bytes; then reading pauses, or a POST is
#: not answered.
INBOX_LIMIT: Final = 64
INBOX_BYTES: Final = 32 * 1024
#: ... and with long polling, where a client says all that it has at once.
POLLED_INBOX_LIMIT: Final = 1000
#: Packets of one POST that are taken in one turn of the loop: half a million fit in the largest.
AT_A_TIME: Final = 500
#: Polls answered at once, and empty, while their client goes over to its WebSocket: what waits goes there.
#: Were a CONNECT answered before, and its WebSocket broke then, the official client would neither poll nor
#: go over. An upgrade that takes longer does not come about, and holds nothing up.
AT_ONCE: Final = 10
#: Seconds for which each of the further ones may wait.
LAST_POLL: Final = 0.1
#: Seconds between a CONNECT's answer and what was sent while it was decided, without a door.
APART: Final = 0.01

PING: Final = frames.text(b"2")
#: What a WebSocket is closed with where its node has no room for the rest of its message.
CROWDED: Final = (frames.TRY_AGAIN_LATER, "UNAVAILABLE")
#: What holds a client up: the application's line, or packets that wait here.
_LINE, _INBOX = 1, 2
_MESSAGE, _PONG, _CLOSE, _UPGRADE, _NOOP = b"4"[0], b"3"[0], b"1"[0], b"5"[0], b"6"[0]


class Session(Sink):
    """Over long polling at first, or over a WebSocket."""

    __slots__ = (
        "__weakref__", "_data", "_held", "_inbox", "_slow", "_stops", "asked", "attachments", "busy",
        "client", "closed", "closing", "engine", "handshake", "held_up", "last_ping", "opened", "others",
        "owner", "pinged", "poll", "posting", "protocol", "sid", "slot", "untaken", "upgraded", "upgrading",
    )  # fmt: skip

    def __init__(self, engine: "Engine", sid: str, handshake: Handshake, now: float) -> None:
        super().__init__(engine.flusher)
        self.engine = engine
        self.sid = sid
        self.handshake: Handshake | None = handshake
        self.owner: bytes | None = None  # whose credentials opened it
        self.protocol: WebSocketProtocol | None = None
        self.untaken: asyncio.Transport | None = None  # the last poll's, while its client has not taken all
        self.poll: asyncio.Future[bytes] | None = None  # a long-polling request that waits
        self.asked: Scope | None = None  # that request's
        self.client: Client | None = None  # in the namespace "/"
        self.others: dict[str, Client] | None = None  # in other namespaces
        self.attachments: Any = None  # a packet that still lacks some
        self.closing = self.closed = self.upgraded = False
        self.upgrading: int | None = None  # to a WebSocket: polls that will still be answered at once
        self.busy = False  # a POST is being read, or its packets wait
        self.posting: asyncio.Timeout | None = None  # what that may be ended with
        self.held_up: asyncio.Future[None] | None = None
        self.opened = now
        self.pinged = 0.0  # when the last ping went out, if its pong has not come; else negative or 0
        self.last_ping = now  # when it was last heard of
        self.slot: set[Beating] | None = None
        self._data: dict[str, Any] | None = None
        self._inbox: _Inbox | None = None
        self._stops = 0  # what holds it up
        self._held = 0  # CONNECTs that are being decided
        self._slow = False
        if handshake.transport == "polling":
            self.pause(engine.outbox_limit)  # until its first poll

    # --- what python-socketio and its Admin UI look at

    @property
    def session(self) -> dict[str, Any]:
        """The user session of each namespace."""
        if self._data is None:
            self._data = {}
        return self._data

    @session.setter
    def session(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def connected(self) -> bool:
        return not self.closed

    async def send(self, packet: eio_packet.Packet) -> None:
        if self.closed:
            raise eio_exceptions.SocketIsClosedError
        encoded = packet.encode()
        opcode = frames.TEXT if isinstance(encoded, str) else frames.BINARY
        self.push(frames.frame(opcode, encoded.encode() if isinstance(encoded, str) else bytes(encoded)))

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        handlers = self.end(reason or self.engine.reason.SERVER_DISCONNECT, abort)
        if handlers is not None:
            await asyncio.wait((handlers,))

    @property
    def transport(self) -> str:
        return "websocket" if self.upgraded else "polling"

    @property
    def known(self) -> bool:
        """Whether its client has shown who it is, in any namespace."""
        if self.client is not None and self.client.state is None:
            return True
        return self.others is not None and any(other.state is None for other in self.others.values())

    def abort(self) -> None:
        self.end(self.engine.reason.TRANSPORT_CLOSE, abort=True)

    # --- writing

    def pause(self, limit: int) -> None:
        if self.backlog is None:
            kind = polling.PollBacklog if self.protocol is None else polling.Backlog
            self.backlog = kind(limit, self.cut, self.flusher.observer, self.holds)
        self.backlog.paused = True

    def pause_writing(self) -> None:
        self._slow = True
        if not self.closing:
            self.pause(self.engine.outbox_limit)

    def resume_writing(self) -> None:
        self._slow = False
        self._resume()

    def _resume(self) -> None:
        """Let what waits go, unless something is still in its way."""
        if self.closing or self._held or self._slow or self.upgrading:
            return
        if self.protocol is not None or self.poll is not None:
            self.resume()

    def write(self, data: bytes) -> None:
        if self.protocol is not None:
            self.protocol.write(data)
        elif not self.closing:
            self._write_poll(data)

    def _write_poll(self, data: bytes) -> None:
        """Answer the request that waits; what comes before the next one waits in its turn."""
        poll, self.poll = self.poll, None
        self.pause(self.engine.outbox_limit)
        if poll is None or poll.done():
            assert self.backlog is not None
            self.backlog.put_first(data)
        else:
            poll.set_result(polling.payload(data))

    def hold(self) -> None:
        """From here on nothing leaves, until `release`: a CONNECT is being decided."""
        self._held += 1
        if self.waits is not None and (out := self.leaving()):
            self.write(out)
        self.pause(self.engine.outbox_limit)

    def release(self, first: bytes, together: bool) -> None:
        """What was held leaves, `first` before it: in one write, or with a pause between the two.

        Apart is for clients that wait for one message after another, as the protocol's own test suite
        does: with both in one read the second is gone before they listen (Node's server fails there too).
        """
        self._held -= 1
        if self.closing:
            return
        waiting = self.backlog
        assert waiting is not None
        if together or self._slow or self.protocol is None or not waiting.size:
            waiting.put_first(first)
            self._resume()
        else:
            self.backlog = None
            self.push(first)
            self.backlog = waiting
            self._held += 1
            asyncio.get_running_loop().call_later(APART, self._unhold)

    def _unhold(self) -> None:
        self._held -= 1
        self._resume()

    def cut(self) -> None:
        self.end(self.engine.reason.TRANSPORT_ERROR, abort=True)

    @property
    def account(self) -> str | None:
        if self.closing:
            return None
        caller = None if self.client is None else self.client.caller
        return "" if caller is None else caller.account

    def crowded(self) -> None:
        """What waits for who does not read goes with it; who is in the middle of a message is told."""
        if self.closing:
            return
        self.flusher.observer.cut("CROWDED")
        if self.posting is not None:
            self.posting.reschedule(asyncio.get_running_loop().time())
        if self._slow or self.protocol is None:
            self.cut()
        else:
            self.end(self.engine.reason.TRANSPORT_ERROR, close=CROWDED)

    # --- what comes in

    def text(self, data: bytes) -> None:
        if self._inbox is not None:
            self._queue(data)
        else:
            kind = data[0] if data else 0
            if kind == _MESSAGE:
                waiting = self.engine.message(self, data)
                if waiting is not None:
                    self._begin(waiting)
            else:
                self._control(kind)

    def binary(self, data: bytes) -> None:
        if self._inbox is not None:
            self._queue((data,))
        else:
            waiting = self.engine.attachment(self, data)
            if waiting is not None:
                self._begin(waiting)

    def _control(self, kind: int) -> None:
        if kind == _PONG:
            self.last_ping = self.engine.wheel.now()
            self.pinged = -abs(self.pinged)
        elif kind == _CLOSE:
            self.end(self.engine.reason.CLIENT_DISCONNECT)
        elif kind not in (_UPGRADE, _NOOP):
            self.end(self.engine.reason.TRANSPORT_ERROR)

    def _queue(self, data: bytes | tuple[bytes]) -> None:
        assert self._inbox is not None
        if data == b"3":  # who waits for us is not to be taken for dead
            return self._control(_PONG)
        inbox = self._inbox
        if inbox.deaf or self.closing:
            return
        inbox.append(data)
        size = inbox.size
        inbox.size += _size(data)
        if not self.known:
            self.engine.grows(self, inbox.size // HEAD - size // HEAD)
        most = POLLED_INBOX_LIMIT if self.protocol is None else INBOX_LIMIT  # also if what was polled waits
        if len(inbox) >= most or inbox.size >= INBOX_BYTES:
            self.hold_up(True, _INBOX)

    def ignore(self) -> None:
        """It is being sent away: what it said since, and still says, is not looked at."""
        if self._inbox is not None:
            self._inbox.clear()
            self._inbox.deaf = True
            self.hold_up(False, _INBOX)

    def _begin(self, first: Coroutine[Any, Any, None]) -> None:
        self._inbox = _Inbox()
        self.engine.run(self._run(first))

    async def _run(self, waiting: Coroutine[Any, Any, None] | None) -> None:
        """One after another: what has to wait, and what came behind it."""
        inbox = self._inbox
        assert inbox is not None
        while True:
            try:
                if waiting is not None:
                    await waiting
                waiting = None
                if not inbox or self.closing:
                    break
                data = inbox.popleft()
                inbox.size -= _size(data)
                if len(inbox) <= INBOX_LIMIT // 2 and inbox.size <= INBOX_BYTES // 2:
                    self.hold_up(False, _INBOX)
                if isinstance(data, tuple):
                    waiting = self.engine.attachment(self, data[0])
                elif data[:1] == b"4":
                    waiting = self.engine.message(self, data)
                else:
                    self._control(data[0] if data else 0)
            except Exception:
                waiting = None
                self.engine.log.exception("error while handling a packet")
        self._inbox = None
        self.hold_up(False, _INBOX)

    # --- life

    def start(self, protocol: WebSocketProtocol, first: bytes = b"") -> None:
        """Go over to a WebSocket: from the beginning, or in an upgrade."""
        poll, self.poll = self.poll, None
        if poll is not None and not poll.done():
            poll.set_result(polling.NOOP)
        backlog, self.backlog = self.backlog, None
        self.protocol = protocol
        engine = self.engine
        if self.known:
            protocol.known()
        self.upgraded, self.upgrading = True, None
        if self._held:
            self.pause(engine.outbox_limit)
            assert self.backlog is not None
            while backlog is not None and (data := backlog.take()):
                self.backlog.add(data)
        else:
            while backlog is not None and (data := backlog.take()):
                first += data
        protocol.take_over(self, first=first, max_size=engine.size_for(self))
        if self._stops and self.protocol is not None:
            protocol.pause_reading()

    def begin_poll(self) -> asyncio.Future[bytes] | None:
        """A GET: what it is answered with. None for one too many, which ends the session."""
        if self.poll is not None:
            self.end(self.engine.reason.TRANSPORT_ERROR)
            return None
        loop = asyncio.get_running_loop()
        poll: asyncio.Future[bytes] = loop.create_future()
        if self.upgrading:
            self.upgrading -= 1
            poll.set_result(polling.NOOP)
            return poll
        self.poll = poll
        self._resume()
        if self.upgrading is not None and not poll.done():
            loop.call_later(LAST_POLL, self._end_poll, poll)
        return poll

    async def came(self, body: bytes) -> Iterator[tuple[bytes, bool]] | None:
        """A POST's packets. None if something in it is no packet: the session has ended."""
        try:
            for number, _ in enumerate(polling.packets(body), 1):
                if not number % AT_A_TIME:
                    await asyncio.sleep(0)
        except ValueError:
            self.end(self.engine.reason.TRANSPORT_ERROR)
            return None
        return polling.packets(body)

    def feed(self, came: Iterator[tuple[bytes, bool]]) -> bool:
        """Those packets, up to one behind which its client is held up, or as many as go at a time; whether
        these were all."""
        for number, (data, is_binary) in enumerate(came, 1):
            if self.closing:
                break
            if data == b"1" and not is_binary:
                self.end(self.engine.reason.CLIENT_DISCONNECT, answer=polling.NOOP)
            else:
                (self.binary if is_binary else self.text)(data)
            if (self._stops or number == AT_A_TIME) and not self.closing:
                return False
        return True

    def probed(self) -> None:
        """The client's WebSocket works: it goes over to it when no request waits any more."""
        if self.poll is not None:
            self._end_poll(self.poll)

    def upgrade_failed(self) -> None:
        self.upgrading = None
        self._resume()

    def _end_poll(self, poll: asyncio.Future[bytes]) -> None:
        if self.poll is poll:
            self.poll = None
            self.pause(self.engine.outbox_limit)
            out = self.leaving()
            if not poll.done():
                poll.set_result(polling.payload(out) if out else polling.NOOP)

    def tick(self, now: float) -> None:
        """The wheel's deadline: a ping, its time-out, or nobody in any namespace for too long."""
        engine = self.engine
        if self.closing:
            return
        if self.protocol is not None and self.fd < 0:
            self.fd = self.protocol.descriptor()  # what waited in the transport may have left
        nobody = self.client is None and not self.others
        sent = abs(self.pinged) or self.opened
        # a slot comes up to a tick early
        if nobody and now >= self.opened + engine.connect_timeout - engine.tick:
            self.end(engine.reason.TRANSPORT_CLOSE)
            return
        if self.held_up is not None:  # its pong waits, too: who waits for us is not to be taken for dead
            self.pinged = -abs(self.pinged)
        if self.pinged > 0 and now >= sent + engine.ping_timeout - engine.tick:
            self.end(engine.reason.PING_TIMEOUT)
            return
        due = sent + engine.ping_interval
        if self.pinged <= 0 and now >= due - engine.tick:
            self.pinged = sent = now
            self.push(PING)
            due = now + min(engine.ping_interval, engine.ping_timeout)
        elif self.pinged > 0:
            due = sent + engine.ping_timeout
        if nobody:
            due = min(due, self.opened + engine.connect_timeout)
        engine.wheel.add(self, due)

    def too_big(self, error: frames.TooBig) -> None:
        self.engine.too_big(self, error.beginning, error.size)
        self.end(self.engine.reason.TRANSPORT_ERROR, close=(error.code, error.reason))

    def lost(self, code: int) -> None:
        """The WebSocket is gone."""
        self.protocol = None
        self.end(self.engine.reason.TRANSPORT_CLOSE)

    def hung_up(self) -> None:
        """On a request that waited (Node: "poll connection closed prematurely")."""
        if self.poll is not None:
            poll, self.poll = self.poll, None
            if not poll.done():
                poll.set_result(polling.NOOP)  # for nobody; but its task would wait forever
            self.end(self.engine.reason.TRANSPORT_ERROR)

    def stopping(self) -> None:
        self.end(self.engine.reason.SERVER_DISCONNECT)

    def hold_up(self, stop: bool, why: int = _LINE) -> None:
        """Let a client that says more than can be handled wait: nothing is read from its WebSocket, or
        its POST is not answered."""
        before, self._stops = self._stops, self._stops | why if stop else self._stops & ~why
        if bool(before) == bool(self._stops) or self.closing:
            return
        if self.protocol is not None:
            (self.protocol.pause_reading if stop else self.protocol.resume_reading)()
        if stop:
            self.held_up = asyncio.get_running_loop().create_future()
        else:
            self.pinged = -abs(self.pinged)  # its pong may be on its way only now
            self._let_go()

    def _let_go(self) -> None:
        """Of the POST that waits."""
        held_up, self.held_up = self.held_up, None
        if held_up is not None:
            held_up.set_result(None)

    def end(
        self,
        reason: str,
        abort: bool = False,
        answer: bytes = polling.CLOSE,
        close: tuple[int, str] = (frames.NORMAL, ""),
    ) -> "asyncio.Task[None] | None":
        """Close the session and its connection, now; handlers of the disconnect run in the task returned.

        A WebSocket gets no CLOSE packet, only its own closing handshake: to a client that packet means
        to stay away. A polling client gets `answer` after what waits for it. `close` is what a WebSocket is
        closed with.
        """
        if self.closing:
            return None
        self.closing = True
        self._let_go()
        out = self.leaving()
        backlog, self.backlog = self.backlog, None
        protocol, self.protocol = self.protocol, None
        self.engine.wheel.discard(self)
        self.flusher.held.discard(self)
        if abort:
            if protocol is not None:
                protocol.abort()
        elif protocol is not None:
            if out:
                protocol.write(out)
            while backlog is not None and not self._held and (data := backlog.take()):
                protocol.write(data)
            protocol.close(*close)
        elif not self.upgraded:
            last = out or b""
            while backlog is not None and not self._held and (data := backlog.take()):
                last += data
            if self.poll is not None:
                if not self.poll.done():
                    rest = polling.payload(last) + polling.SEPARATOR if last else b""
                    self.poll.set_result(rest + answer)
            elif last and reason != self.engine.reason.PING_TIMEOUT:
                words = polling.payload(last) + polling.SEPARATOR + answer
                self.engine.last_words.keep(self.sid, self.owner, words, self.engine.wheel.now())
        if abort and self.poll is not None and not self.poll.done():
            self.poll.set_result(answer)
        self.poll = None
        return self.engine.ended(self, reason)


class _Inbox(deque[bytes | tuple[bytes]]):
    """Packets that wait, a binary one as a tuple; their bytes, and whether none are taken any more."""

    __slots__ = ("deaf", "size")

    def __init__(self) -> None:
        super().__init__()
        self.size, self.deaf = 0, False


def _size(data: bytes | tuple[bytes]) -> int:
    return len(data[0] if isinstance(data, tuple) else data)

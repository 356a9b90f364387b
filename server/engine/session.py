"""One Engine.IO session (protocol 4): the packets that come in, and its life from the opening to the end.

No queue, task or timer of its own: what is sent is in `out` until the loop's turn ends, deadlines are the
wheel's, and a task exists only while something that came in has to wait. Knows nothing of Socket.IO: what
comes in is for `context.message`.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from server.engine import asides, frames, polling, reasons
from server.engine.asgi import Scope
from server.engine.carrier import Carrier
from server.engine.context import Context, Work
from server.engine.handshake import Handshake
from server.engine.heartbeat import Ticking
from server.engine.inbox import Inbox
from server.engine.parser import TooBig
from server.engine.protocol import WebSocketProtocol
from server.engine.strangers import HEAD

#: Packets of one POST that are taken in one turn of the loop: half a million fit in the largest.
AT_A_TIME: Final = 500

PING: Final = frames.text(b"2")
#: What a WebSocket is closed with where its node has no room for the rest of its message.
CROWDED: Final = (frames.TRY_AGAIN_LATER, "UNAVAILABLE")
#: What holds a client up: the application's line, packets that wait here, or many that asked for nothing.
_LINE, _INBOX, _ASIDES = 1, 2, 4
_MESSAGE, _PONG, _CLOSE, _UPGRADE, _NOOP = b"4"[0], b"3"[0], b"1"[0], b"5"[0], b"6"[0]


class Session(Carrier):
    """Over long polling at first, or over a WebSocket."""

    __slots__ = (
        "__weakref__", "_inbox", "_paid", "_stops", "asked", "awaits_pong", "busy", "handshake", "held_up",
        "last_ping", "opened", "owner", "pinged", "posting", "sid", "slot", "untaken",
    )  # fmt: skip

    def __init__(self, context: Context, sid: str, handshake: Handshake, now: float) -> None:
        super().__init__(context)
        self.sid = sid
        self.handshake: Handshake | None = handshake
        self.owner: bytes | None = None  # whose credentials opened it
        self.untaken: asyncio.Transport | None = None  # the last poll's, while its client has not taken all
        self.asked: Scope | None = None  # that of the request that waits
        self.busy = False  # a POST is being read, or its packets wait
        self.posting: asyncio.Timeout | None = None  # what that may be ended with
        self.held_up: asyncio.Future[None] | None = None
        self.opened = now
        self.pinged = now  # when the last ping went out
        self.awaits_pong = False
        self.last_ping = now  # when it was last heard of
        self.slot: set[Ticking] | None = None
        self._inbox: Inbox | None = None
        self._stops = 0  # what holds it up
        self._paid = 0.0  # as of `WebSocketConnection`, while it is polled
        if handshake.transport == "polling":
            self.pause(context.outbox_limit)  # until its first poll

    # --- what the layer above knows of it

    @property
    def known(self) -> bool:
        """Whether its client has shown who it is."""
        return False

    @property
    def used(self) -> bool:
        """Whether its client is anywhere, or on its way there."""
        return False

    @property
    def account(self) -> str | None:
        return None if self.closing else ""

    @property
    def size_limit(self) -> int:
        """Bytes of a message that its client may send."""
        return self.context.max_size if self.known else self.context.stranger_limit

    # --- what comes in

    def text(self, data: bytes) -> None:
        if self._inbox is not None:
            self._queue(data)
        else:
            kind = data[0] if data else 0
            if kind == _MESSAGE:
                waiting = self.context.message(self, data)
                if waiting is not None:
                    self._begin(waiting)
            else:
                self._control(kind)

    def binary(self, data: bytes) -> None:
        if self._inbox is not None:
            self._queue((data,))
        else:
            waiting = self.context.attachment(self, data)
            if waiting is not None:
                self._begin(waiting)

    def pong(self, data: bytes) -> None:
        """The WebSocket's own: we send no such pings."""

    def too_big(self, error: TooBig) -> None:
        self.context.too_big(self, error.beginning, error.size)
        self.end(reasons.TRANSPORT_ERROR, close=(error.code, error.reason))

    def _control(self, kind: int) -> None:
        if kind == _PONG:
            if not self.awaits_pong:
                self.aside()
            self.last_ping = self.context.wheel.now()
            self.awaits_pong = False
        elif kind == _CLOSE:
            self.end(reasons.CLIENT_DISCONNECT)
        elif kind in (_UPGRADE, _NOOP):
            self.aside()
        else:
            self.end(reasons.TRANSPORT_ERROR)

    def aside(self) -> None:
        """A packet came that asks for nothing."""
        if self.protocol is not None:
            self.protocol.aside()
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._paid = asides.paid(self._paid, now)
        wait = asides.wait(self._paid, now)
        if wait > 0 and not self._stops & _ASIDES:
            self.hold_up(True, _ASIDES)
            loop.call_later(wait, self.hold_up, False, _ASIDES)

    # --- what has to wait

    def _begin(self, first: Work) -> None:
        self._inbox = Inbox()
        self.context.run(self._run(first))

    def _queue(self, data: bytes | tuple[bytes]) -> None:
        assert self._inbox is not None
        if data == b"3":  # who waits for us is not to be taken for dead
            return self._control(_PONG)
        inbox = self._inbox
        if inbox.deaf or self.closing:
            return
        before = inbox.size
        inbox.put(data)
        if not self.known:
            self._grows(inbox.size // HEAD - before // HEAD)
        if inbox.full(polled=self.protocol is None):  # also if what was polled waits
            self.hold_up(True, _INBOX)

    def _grows(self, by: int) -> None:
        """What a stranger said weighs so much more."""
        strangers = self.context.strangers
        if strangers is not None and by:
            strangers.grows(self if self.protocol is None else self.protocol.transport, by)

    async def _run(self, waiting: Work | None) -> None:
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
                data = inbox.take()
                if inbox.has_room:
                    self.hold_up(False, _INBOX)
                if isinstance(data, tuple):
                    waiting = self.context.attachment(self, data[0])
                elif data[:1] == b"4":
                    waiting = self.context.message(self, data)
                else:
                    self._control(data[0] if data else 0)
            except Exception:
                waiting = None
                self.context.log.exception("error while handling a packet")
        self._inbox = None
        self.hold_up(False, _INBOX)

    def ignore(self) -> None:
        """It is being sent away: what it said since, and still says, is not looked at."""
        if self._inbox is not None:
            self._inbox.become_deaf()
            self.hold_up(False, _INBOX)

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
            self.awaits_pong = False  # it may be on its way only now
            self._let_go()

    def _let_go(self) -> None:
        """Of the POST that waits."""
        held_up, self.held_up = self.held_up, None
        if held_up is not None:
            held_up.set_result(None)

    # --- a POST

    def feed(self, came: Iterator[tuple[bytes, bool]]) -> bool:
        """Packets of a POST, up to one behind which its client is held up, or as many as go at a time;
        whether these were all."""
        for number, (data, is_binary) in enumerate(came, 1):
            if self.closing:
                break
            if data == b"1" and not is_binary:
                self.end(reasons.CLIENT_DISCONNECT, answer=polling.NOOP)
            else:
                (self.binary if is_binary else self.text)(data)
            if (self._stops or number == AT_A_TIME) and not self.closing:
                return False
        return True

    # --- life

    def start(self, protocol: WebSocketProtocol, first: bytes = b"") -> None:
        """Go over to a WebSocket: from the beginning, or in an upgrade."""
        first, known = self.go_over(protocol, first), self.known
        if known:
            protocol.known()
        context = self.context
        protocol.take_over(self, None, first, context.max_size if known else context.stranger_limit)
        if self.backlog is not None:
            self.count_unsent(len(first))
        if self._stops and self.protocol is not None:
            protocol.pause_reading()

    def tick(self, now: float) -> None:
        """The wheel's deadline: a ping, its time-out, or nobody in any namespace for too long."""
        context = self.context
        if self.closing:
            return
        if self.protocol is not None and self.fd < 0:
            self.fd = self.protocol.descriptor()  # what waited in the transport may have left
        # a slot comes up to a tick early
        if not self.used and now >= self.opened + context.connect_timeout - context.tick:
            self.end(reasons.TRANSPORT_CLOSE)
            return
        if self.held_up is not None:  # its pong waits, too: who waits for us is not to be taken for dead
            self.awaits_pong = False
        if self.awaits_pong and now >= self.pinged + context.ping_timeout - context.tick:
            self.end(reasons.PING_TIMEOUT)
            return
        due = self.pinged + context.ping_interval
        if self.awaits_pong:
            due = self.pinged + context.ping_timeout
        elif now >= due - context.tick:
            self.pinged, self.awaits_pong = now, True
            self.push(PING)
            due = now + min(context.ping_interval, context.ping_timeout)
        if not self.used:
            due = min(due, self.opened + context.connect_timeout)
        context.wheel.add(self, due)

    def lost(self, code: int) -> None:
        """The WebSocket is gone."""
        self.protocol = None
        self.end(reasons.TRANSPORT_CLOSE)

    def abort(self) -> None:
        self.end(reasons.TRANSPORT_CLOSE, abort=True)

    def cut(self) -> None:
        self.end(reasons.TRANSPORT_ERROR, abort=True)

    def crowded(self) -> None:
        """What waits for who does not read goes with it; who is in the middle of a message is told."""
        if self.closing:
            return
        self.flusher.observer.cut("CROWDED")
        if self.posting is not None:
            self.posting.reschedule(asyncio.get_running_loop().time())
        if self.slow or self.protocol is None:
            self.cut()
        else:
            self.end(reasons.TRANSPORT_ERROR, close=CROWDED)

    def end(
        self,
        reason: str,
        abort: bool = False,
        answer: bytes = polling.CLOSE,
        close: tuple[int, str] = (frames.NORMAL, ""),
    ) -> asyncio.Task[None] | None:
        """Close the session and its connection, now; handlers of the disconnect run in the task returned.

        A WebSocket gets no CLOSE packet, only its own closing handshake: to a client that packet means
        to stay away. A polling client gets `answer` after what waits for it. `close` is what a WebSocket is
        closed with.
        """
        if self.closing:
            return None
        self.closing = True
        context = self.context
        self._let_go()
        context.wheel.discard(self)
        self.flusher.held.discard(self)
        last = self.say_last(abort, answer, close)
        if last and reason != reasons.PING_TIMEOUT:
            words = polling.payload(last) + polling.SEPARATOR + answer
            context.last_words.keep(self.sid, self.owner, words, context.wheel.now())
        return context.ended(self, reason)

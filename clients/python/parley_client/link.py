"""One Socket.IO connection that comes back by itself. Knows no session and no answer.

Each connection is a client of python-socketio's of its own, without its reconnection: what one left behind in
it says nothing about the next.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import aiohttp
import socketio

from parley_client.errors import Json, ParleyError, as_error, closed, unwrap
from parley_client.observable import Errands
from parley_client.rest import Rest

log = logging.getLogger("parley_client")

#: Seconds in which a connection is made (a node that takes nobody says so after up to 10), a command is
#: answered, and a command waits for a connection.
OPENED, ANSWERED, CONNECTED = 12.0, 12.0, 10.0
#: Seconds until another try: doubled each time, up to the second; for a token that is none, up to the third.
AGAIN, LATEST, RENEWED = 0.3, 5.0, 30.0
#: Bytes of one packet. aiohttp takes 4 MiB and then ends the connection: a snapshot may be larger.
LARGEST = 64 * 1024 * 1024
#: In turn, while none comes through: a WebSocket at once; polling first.
TRANSPORTS = (["websocket"], ["polling", "websocket"])
#: Seconds in which a connection says goodbye.
GOODBYE = 2.0
#: What a connection can fail with.
FAILURES = (socketio.exceptions.SocketIOError, aiohttp.ClientError, OSError, TimeoutError, ValueError)

#: Takes a reply; None where there is none, and nobody knows whether the command was carried out.
Take = Callable[[Any], None]


class Hearer(Protocol):
    """Who is told. All of it is called in order, and has to come back at once."""

    def up(self) -> None: ...

    def down(self, word: str, error: ParleyError | None) -> None:
        """`offline`: it comes back by itself; `refused`: a person has to mend what `error` says, and then
        `reconnect`."""

    def event(self, name: str, data: Json) -> Any:
        """What comes back acknowledges the event, where that is wanted."""


class Sockets:
    """An aiohttp session for one client, with the WebSockets that it opened.

    python-engineio leaves those open on which no session began, and those that break while it upgrades.
    """

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._opened: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    async def ws_connect(self, *address: Any, **options: Any) -> Any:
        socket = await self._http.ws_connect(*address, **options)
        self._opened.append(socket)
        return socket

    async def close(self) -> None:
        """The session is its owner's."""
        await asyncio.gather(*(socket.close() for socket in self._opened))


class Link:
    def __init__(self, rest: Rest, hearer: Hearer) -> None:
        self._rest, self._hearer = rest, hearer
        self.life = 0  # how often it was up
        self._client: Any = None  # the one that is connected
        self._waiting: dict[object, tuple[Take, asyncio.TimerHandle]] = {}
        self._up, self._wake = asyncio.Event(), asyncio.Event()
        self._cut: asyncio.Future[None] | None = None
        self._last: ParleyError | None = None  # what the server told before it ended the connection
        self._kind = 0  # of TRANSPORTS
        self._task: asyncio.Task[None] | None = None
        self._errands = Errands()
        self._closed = False

    @property
    def is_up(self) -> bool:
        return self._client is not None

    def open(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """For good. What waits for an answer has none."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._up.set()  # who waits for a connection waits for nothing
        await self._errands.settled(GOODBYE)
        await self._errands.end()

    def reconnect(self) -> None:
        """Now, where it waits for something."""
        self._wake.set()

    # --- commands

    async def call(self, name: str, payload: Json, within: float = CONNECTED) -> Json:
        """A reply; waits for a connection for `within` seconds. Raises ParleyError."""
        if not self.is_up:
            await self._connected(within)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ask(name, payload, lambda said: None if reply.done() else reply.set_result(said))
        said = await reply
        if said is None and self._closed:
            raise closed()
        return unwrap(said)

    def ask(self, name: str, payload: Json, take: Take) -> None:
        """The reply is taken in as it comes: after an `await` it might be later than what comes behind it."""
        client, key = self._client, object()
        if client is None:
            take(None)
            return

        def answer(*said: Any) -> None:
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                waiting[1].cancel()
                take(said[0] if said else None)

        def late() -> None:
            """The connection is dead, whatever it thinks itself."""
            answer()
            self._drop(client)

        timer = asyncio.get_running_loop().call_later(ANSWERED, late)
        self._waiting[key] = (take, timer)
        self._errands.run(self._emit(client, name, payload, answer))

    def tell(self, name: str, payload: Json) -> None:
        """A command whose reply nobody needs."""
        if self._client is not None:
            self._errands.run(self._emit(self._client, name, payload, None))

    async def _emit(self, client: Any, name: str, payload: Json, answer: Take | None) -> None:
        try:
            await client.emit(name, payload, callback=answer)
        except (TypeError, ValueError) as failure:  # it is no JSON
            log.error("%s cannot be said: %s", name, failure)
            if answer is not None:
                problem = {"code": "VALIDATION_ERROR", "message": str(failure), "retryable": False}
                answer({"ok": False, "error": problem})
        except FAILURES:
            if answer is not None:
                answer(None)

    async def _connected(self, within: float) -> None:
        if self._closed:
            raise closed()
        self.open()
        try:
            async with asyncio.timeout(within):
                await self._up.wait()
        except TimeoutError:
            raise as_error() from None
        if self._closed:
            raise closed()

    # --- the connection

    async def _keep(self) -> None:
        pause, fresh = AGAIN, False
        try:
            while True:
                before = self.life
                refused, error = await self._live(fresh)
                fresh = True  # with a fresh token it may take us again
                expired = refused and error is not None and error.code == "TOKEN_EXPIRED"
                expired = expired and self._rest.renews
                if refused and error is not None and not error.retryable and not expired:
                    self._hearer.down("refused", error)
                    await self._woken(None)
                    continue
                self._hearer.down("offline", error)
                if self.life != before:
                    pause = AGAIN
                else:
                    self._kind = 1 - self._kind
                await self._woken(error.pause(pause) if error is not None else pause)
                pause = min(RENEWED if expired else LATEST, pause * 2)
        finally:
            self._lost()

    async def _woken(self, seconds: float | None) -> None:
        """After some, or when it is told to. At random: others were cut off, too."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds and seconds * random.uniform(0.8, 1.2)):
                await self._wake.wait()

    async def _live(self, fresh: bool) -> tuple[bool, ParleyError | None]:
        """One connection, from its token to its end: whether it was refused, and why it ended."""
        try:
            token = await self._rest.token(fresh)
            http = Sockets(self._rest.http)
        except ParleyError as error:
            return False, ParleyError("UNAVAILABLE", error.message, retryable=True)
        refused: list[ParleyError] = []
        client, self._last = self._made(http, refused), None
        self._cut = asyncio.get_running_loop().create_future()
        late = asyncio.get_running_loop().call_later(OPENED, self._give_up, client)
        try:
            async with asyncio.timeout(OPENED):
                await client.connect(
                    self._rest.origin, auth={"token": token}, transports=TRANSPORTS[self._kind], wait=False,
                    socketio_path=f"{self._rest.path}/socket.io",
                )  # fmt: skip
            # Its end is that of what reads: python-socketio tells none that comes before it is connected.
            await asyncio.wait([client.eio.read_loop_task, self._cut], return_when=asyncio.FIRST_COMPLETED)
        except FAILURES as failure:
            self._last = as_error(str(failure) or None)
        finally:
            late.cancel()
            self._lost()
            self._errands.run(_ended(client, http))
        return (True, refused[0]) if refused else (False, self._last)

    def _made(self, http: Sockets, refused: list[ParleyError]) -> Any:
        client = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, http_session=http,
            websocket_extra_options={"max_msg_size": LARGEST},
        )  # fmt: skip

        def connected() -> None:
            self._client = client
            self.life += 1
            self._up.set()
            self._hearer.up()

        def refuse(said: Any = None) -> None:
            """With `data` it is the server's word; without, something on the way failed."""
            if isinstance(said, dict):
                refused.append(as_error(said.get("data") or said.get("error") or said.get("message")))
            self._drop(client)

        client.on("connect", connected)
        client.on("connect_error", refuse)
        client.on("*", lambda name, data=None, *_: self._heard(client, name, data))
        return client

    def _heard(self, client: Any, name: str, data: Any) -> Any:
        if client is not self._client or not isinstance(data, dict):
            return None
        if name == "error" and not data.get("command"):
            self._last = as_error(data)
            return None
        if name == "auth_expiring":
            self._errands.run(self._refresh())
        try:
            return self._hearer.event(name, data)
        except Exception:
            log.exception("an event was not taken in: %s", name)
            return None

    async def _refresh(self) -> None:
        try:
            token = await self._rest.token(fresh=True)
        except ParleyError:
            return  # the connection ends, and the next one asks again
        self.tell("auth_refresh", {"token": token})

    def _give_up(self, client: Any) -> None:
        if self._client is not client:
            self._drop(client)

    def _drop(self, client: Any) -> None:
        """Ends the connection, if it is still this one."""
        if self._cut is not None and not self._cut.done() and self._client in (None, client):
            self._cut.set_result(None)

    def _lost(self) -> None:
        self._client = None
        self._up.clear()
        waiting, self._waiting = self._waiting, {}
        for take, timer in waiting.values():
            timer.cancel()
            take(None)


async def _ended(client: Any, http: Sockets) -> None:
    """A dead one says goodbye to nobody, and takes its time for it."""
    for end in (client.disconnect, http.close):
        with suppress(*FAILURES):
            async with asyncio.timeout(OPENED):
                await end()

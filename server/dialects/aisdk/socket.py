"""`/ws/ai`: the AI SDK 7's WebSocketChatTransport. One connection has many requests, each with its answer.

A frame that its client does not know ends all that the client waits for: nothing else may be sent here.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct, field
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from events.access import Caller
from events.asking import Asked
from events.dispatch import forget
from events.errors import ChatError, SessionNotFound, StreamClosed, ValidationFailed
from events.event import Event, to_json
from events.files import FileService
from events.held import SMALL
from events.ids import new_id
from events.room import Connection
from events.schema import AgentId, SessionId, WhenBusy
from events.sessions import Origin
from events.waiting import LINE_BYTES, LINE_LIMIT
from server.admission import Visitor
from server.dialects.aisdk.asking import UICall, carry_out
from server.dialects.aisdk.bodies import LARGEST, Trigger, UIChatRequest, last_message, read_as, tools_in
from server.dialects.aisdk.chunks import UIChunks
from server.dialects.answerlines import AnswerLine, Frames
from server.dialects.chats import Chat
from server.dialects.files import own_file
from server.dialects.following import FileUrls, ToldWithFiles, goes_on, open_turns, turn_begins
from server.dialects.wholechats import AllMessages, check_values
from server.engine import frames
from server.engine.heartbeat import Wheel
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol
from server.errors import close_code
from server.identity import peer
from server.routes.streams import FROM_THE_BEGINNING, answer_begins
from server.services import Services
from server.transports.eventstream import Begin
from server.transports.rawsocket import RawSocket
from server.transports.sse import EventStreamDoor
from storage.fairness import ASKING
from storage.patience import PATIENCE, Patience

#: RFC 6455: a message that breaks the rules.
POLICY = 1008
#: Seconds in which a page that lets go of a resumed answer may have asked for it anew: it does so when it
#: resumes once more, and then it stops nothing.
RESUMED_AGAIN = 0.5

#: Bytes of a frame that asks for nothing which count as one such frame.
ASIDE = 16384

#: Each frame of its answer has it.
RequestId = Annotated[str, Meta(max_length=255)]


class SocketFrame(Struct, kw_only=True):
    """What a client sends. `headers` and `metadata` are a page's own."""

    type: Literal["send", "resume", "abort"]
    request_id: RequestId = field(name="requestId")
    id: SessionId = ""
    trigger: Trigger = "submit-message"
    message_id: Annotated[str, Meta(max_length=255)] | None = field(default=None, name="messageId")
    messages: AllMessages = []
    body: Raw = Raw(b"{}")


class SocketBody(Struct, kw_only=True):
    agent_id: AgentId | None = None
    when_busy: WhenBusy | None = None
    tools: Raw = field(default_factory=Raw)


class SocketFrames(Frames):
    """Chunks as frames of one request, numbered without a gap."""

    comments = False

    def __init__(self, request_id: str, chunks: UIChunks) -> None:
        super().__init__()
        self._id, self._chunks, self._sequence = request_id, chunks, 0

    def opening(self) -> bytes:
        return frame("start", self._id)

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        for chunk in self._chunks.tell(line):
            yield frame("chunk", self._id, sequence=self._sequence, chunk=chunk)
            self._sequence += 1
        if self._chunks.ended:
            self.ended = True
            yield frame("end", self._id)


def frame(kind: str, request_id: str, **more: Any) -> bytes:
    return frames.text(to_json({"type": kind, "requestId": request_id, **more}))


class ReadAnswer(NamedTuple):
    """What a request reads, and as what. `target`: by which it is stopped."""

    begin: Begin
    target: str
    chunks: UIChunks
    urls: FileUrls


class SocketRequest:
    """One that is being answered. `target`: by which its answer is stopped, once that is known; None: there
    is none."""

    def __init__(self, given: SocketFrame) -> None:
        self.chat_id, self.resumes = given.id, given.type == "resume"
        self.target: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None


class AISocket(RawSocket):
    """`requests` by their ids. What they brought is counted until they are carried out."""

    __slots__ = ("_brought", "_held_up", "_waiting", "may_write", "requests", "scope")

    def __init__(self, door: "AIDoor", protocol: WebSocketProtocol, scope: Scope, now: float) -> None:
        super().__init__(door, protocol, "", now)
        self.scope = scope
        self.requests: dict[str, SocketRequest] = {}
        self._waiting = self._brought = 0
        self._held_up = False
        self.may_write = asyncio.Event()
        self.may_write.set()

    def takes(self, size: int) -> None:
        """A request of so many bytes is to be carried out. Where too many are, or too much, its client waits
        with the next."""
        self._wait(1, size)

    def took(self, size: int) -> None:
        self._wait(-1, -size)

    def _wait(self, more: int, size: int) -> None:
        self._waiting += more
        self._brought += size
        if abs(size) > SMALL:
            self.holds(size)
        full = self._waiting >= LINE_LIMIT or self._brought >= LINE_BYTES
        if full != self._held_up and not self.ended:
            self._held_up = full
            (self.protocol.pause_reading if full else self.protocol.resume_reading)()

    def pause_writing(self) -> None:
        self.may_write.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.may_write.set()

    def last_word(self, error: ChatError) -> bytes:
        return b""


class SilentCodec:
    """What a user's connections are told has no frame here."""

    def __init__(self) -> None:
        self.poisoned: Any = self

    def encode(self, event: Event) -> bytes:
        return b""


class AIConnection(Connection):
    """In no room itself: each answer that it reads is."""

    __slots__ = ()

    sink: AISocket

    def end(self, error: ChatError) -> None:
        self.sink.end(error)


class AIDoor:
    """ASGI application for `/ws/ai`."""

    def __init__(self, services: Services, event_streams: EventStreamDoor, files: FileService) -> None:
        self.services = services
        self._event_streams, self._files = event_streams, files
        settings = services.settings
        self.tick = min(1.0, max(0.01, min(settings.ws_heartbeat_interval, settings.ws_ping_timeout) / 10))
        self.wheel = Wheel(self.tick)
        self._codec = SilentCodec()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await PlainTextResponse("A WebSocket is expected here\n", status_code=426)(scope, receive, send)
            return
        await receive()
        offered = scope.get("subprotocols", [])
        bearer = "bearer" if len(offered) >= 2 and offered[0].lower() == "bearer" else None
        protocol: WebSocketProtocol = scope["extensions"]["parley.protocol"]["protocol"]
        services, admission = self.services, self.services.admission
        address = services.address_of(scope["client"], scope["headers"])
        socket = AISocket(self, protocol, scope, self.wheel.now())
        try:
            caller = await admission.admitted(Visitor.of_request(scope, address))
            admission.place(AIConnection, caller, address)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the browser is told a close code
            error = services.dispatcher.error_of(failure, "connect")
            services.gate.journal.refused("websocket", error, address, scope["path"])
            await send({"type": "websocket.accept", "subprotocol": bearer, "parley.max_size": HEAD_LIMIT})
            await send({"type": "websocket.close", "code": close_code(error) or 1011, "reason": error.code})
            return
        conn = AIConnection(new_id("conn"), caller, self._codec, socket, "websocket", services.clock())
        conn.address = address
        protocol.known()
        socket.conn = conn
        socket.pause_writing()  # nothing goes before the answer to the upgrade
        await admission.enter(conn)
        protocol.take_over(socket, subprotocol=bearer, max_size=LARGEST)
        socket.resume_writing()
        self.wheel.add(socket, self.wheel.now() + services.settings.ws_heartbeat_interval)

    # --- what comes in

    def heard(self, socket: RawSocket, data: bytes) -> None:
        assert isinstance(socket, AISocket)
        if socket.conn is None:
            return
        socket.conn.heard_at = self.services.clock()
        try:
            check_values(data)
            given = msgspec.json.decode(data, type=SocketFrame)
        except (ValidationFailed, msgspec.MsgspecError, RecursionError):
            self.refuse(socket, ValidationFailed("no frame of a request, or one of too many values"))
            return
        if given.type == "abort":
            request = socket.requests.pop(given.request_id, None)
            if request is not None:
                self._begin(self._abort(socket, request))
            else:
                socket.protocol.aside(1 + len(data) // ASIDE)
            return
        if given.request_id in socket.requests or not given.id or "\0" in given.id:
            self.refuse(socket, ValidationFailed("each request has an id of its own, and a chat's"))
            return
        request = socket.requests[given.request_id] = SocketRequest(given)
        socket.takes(len(data))
        request.task = self._begin(self._answer(socket, request, given, len(data)))

    @staticmethod
    def _begin(work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def refuse(self, socket: RawSocket, error: ChatError) -> None:
        """Its client is none of the AI SDK's."""
        if socket.ended:
            return
        socket.ended = True
        socket.protocol.close(POLICY, error.text[:100])
        self.gone(socket, "invalid frame")

    def gone(self, socket: RawSocket, reason: str) -> None:
        assert isinstance(socket, AISocket)
        socket.ended = True
        socket.flusher.held.discard(socket)
        self.wheel.discard(socket)
        for request in socket.requests.values():
            if request.task is not None:
                request.task.cancel()
        socket.requests.clear()
        conn, socket.conn = socket.conn, None
        if conn is not None:
            self.services.admission.left(conn, reason)

    # --- requests

    async def _answer(self, socket: AISocket, request: SocketRequest, given: SocketFrame, size: int) -> None:
        """`size` in bytes: what it brought is held until it is carried out, or refused."""
        conn, request_id = socket.conn, given.request_id
        if conn is None:
            return
        caller = conn.caller
        scope: Scope = {**socket.scope, "type": "http", "extensions": {}}
        ASKING.set(caller.asking)
        PATIENCE.set(Patience())
        try:
            try:
                reads = await self._carried_out(socket, request, given, caller, scope)
            finally:
                given.messages, given.body = [], Raw()
                socket.took(size)
            if reads is None:
                return
            told = SocketFrames(request_id, reads.chunks)
            send = ToldWithFiles(partial(self._send, socket), told, reads.urls)
            await self._event_streams.answer(scope, _never, send, caller, request.chat_id, reads.begin)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
            await self._failed(socket, request, request_id, failure, caller)
        finally:
            if not request.target.done():
                request.target.set_result(None)
            self.services.gate.requests.end(scope)
            if socket.requests.get(request_id) is request:
                del socket.requests[request_id]

    async def _carried_out(
        self, socket: AISocket, request: SocketRequest, given: SocketFrame, caller: Caller, scope: Scope
    ) -> ReadAnswer | None:
        """None: it has been answered."""
        try:
            self.services.gate.requests.begin(scope, caller)
            reads = await (self._asked if given.type == "send" else self._resumed)(socket, given, caller)
            request.target.set_result(None if reads is None else reads.target)
            if reads is not None:
                await self._event_streams.admit(scope, caller)
                return reads
            self._say(socket, frame("no-active", given.request_id))
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
            await self._failed(socket, request, given.request_id, failure, caller)
        return None

    async def _failed(
        self, socket: AISocket, request: SocketRequest, request_id: str, failure: Exception, caller: Caller
    ) -> None:
        if request.resumes and isinstance(failure, StreamClosed):
            self._say(socket, frame("no-active", request_id))
            return
        dispatcher = self.services.dispatcher
        error = dispatcher.error_of(failure, "ai")
        late = dispatcher.mistake(error, caller)
        # Where they came from leads to what was sent, and they lead to each other.
        forget(failure)
        forget(error)
        if late is not None:
            await late
        self._say(socket, frame("error", request_id, errorText=f"{error.code}: {error.text}"))

    async def _asked(self, socket: AISocket, given: SocketFrame, caller: Caller) -> ReadAnswer:
        services, settings = self.services, self.services.settings
        waiting = services.dispatcher.limit("message", caller)
        if waiting is not None:
            await waiting
        own = read_as(given.body, SocketBody)
        body = UIChatRequest(
            id=given.id,
            messages=given.messages,
            trigger=given.trigger,
            message_id=given.message_id,
            agent_id=own.agent_id,
            when_busy=own.when_busy,
        )
        message, body.messages, given.messages = last_message(body), [], []
        assert socket.conn is not None
        origin = Origin("websocket", socket.conn.address, peer.header(socket.scope["headers"], b"user-agent"))
        files = own_file(self._origin(socket), settings.root_path)
        chat, tools = Chat(services, caller, given.id, origin), tools_in(own.tools)
        call = UICall(chat, self._files, body, message, files, None, tools)
        done = await services.dispatcher.perform("message", partial(carry_out, call), given.id)
        if isinstance(done, Asked):
            begin = answer_begins(services, done, b"", FROM_THE_BEGINNING, in_order=True)
            return self._reads(socket, given.id, caller, begin, done.message.message_id)
        begin, target = goes_on(services, done.answer), done.answer.message_id
        reads = self._reads(socket, given.id, caller, begin, target)
        reads.chunks.knows(done.parts)
        return reads

    def _reads(self, socket: AISocket, chat_id: str, caller: Caller, begin: Begin, target: str) -> ReadAnswer:
        urls = FileUrls(self._files, caller, self._origin(socket))
        return ReadAnswer(begin, target, UIChunks(7, chat_id, urls.of), urls)

    def _origin(self, socket: AISocket) -> str:
        """This server's, as a page has it in addresses."""
        origin = peer.origin_seen(socket.scope, self.services.settings)
        return origin.replace("ws", "http", 1) if origin.startswith("ws") else origin

    async def _resumed(self, socket: AISocket, given: SocketFrame, caller: Caller) -> ReadAnswer | None:
        waiting = self.services.gate.limits.check(caller, "read")
        if waiting is not None:
            await waiting
        try:
            session, _ = await self.services.sessions.readable(caller, given.id)
        except SessionNotFound:
            return None
        turns = await open_turns(self.services, given.id)
        if not turns:
            return None
        begin = await turn_begins(self.services, caller, session, turns[0])
        return self._reads(socket, given.id, caller, begin, turns[0]["message_id"])

    async def _abort(self, socket: AISocket, request: SocketRequest) -> None:
        """Unlike over HTTP it is a stop."""
        target, conn = await request.target, socket.conn
        try:
            if request.resumes:
                await asyncio.sleep(RESUMED_AGAIN)
                if any(each.chat_id == request.chat_id for each in socket.requests.values()):
                    return
            if target is None or conn is None:
                return
            payload = {"session_id": request.chat_id, "message_id": target}
            await self.services.dispatcher.call("stream_cancel", conn.caller, payload)
        except ChatError:
            pass  # it has ended, or is not his to stop
        finally:
            if request.task is not None:
                request.task.cancel()

    async def _send(self, socket: AISocket, message: Message) -> None:
        """Waits for what was sent before: events are merged, or the reader cut, where they wait."""
        body = message.get("body", b"")
        if body:
            await socket.may_write.wait()
            self._say(socket, body)

    @staticmethod
    def _say(socket: AISocket, data: bytes) -> None:
        if not socket.ended:
            (socket.push if len(data) < frames.LONG else socket.push_large)(data)


async def _never() -> Message:
    """A client goes with its socket."""
    await asyncio.Event().wait()
    raise AssertionError


def routes(services: Services, event_streams: EventStreamDoor, files: FileService) -> list[WebSocketRoute]:
    return [WebSocketRoute("/ws/ai", AIDoor(services, event_streams, files))]

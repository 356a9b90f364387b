"""Server-sent events: a session's event stream, and one answer as it is being written.

Their writing ends are in `server.transports.eventstream`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.bounds import READERS
from events.errors import ChatError
from events.event import Codec, to_json
from events.ids import new_id
from events.joining import Joined
from events.room import Connection
from events.seat import ENDED
from server.admission import Visitor
from server.engine.answers import open_body
from server.services import Services
from server.transports.base import Channel, Transport
from server.transports.codecs import AnswerCodec, EventStreamCodec, never, one_line
from server.transports.eventstream import (
    HEADERS,
    RETRY,
    AnswerHead,
    Begin,
    EventStream,
    StreamConnection,
    StreamedAnswer,
    UnreadStream,
    until_gone,
)
from server.transports.growing import GrowingLines, Telling

Stream = TypeVar("Stream", bound=EventStream)


class EventStreamDoor:
    """Opens event streams."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._codec = EventStreamCodec()
        self._readers: Counter[str] = Counter()  # of one stream each, by message id

    async def admit(self, scope: Scope, caller: Caller) -> None:
        """Before anything is made, of one who is known. Raises Draining, RateLimited, ServerFull."""
        admission, address = self._services.admission, self._address(scope)
        admitted = admission.admit(Visitor(address, caller=caller))
        if not isinstance(admitted, Caller):
            scope["parley.late"] = True  # whoever waits for a refusal has been waited for
            await admitted
        admission.place(StreamConnection, caller, address)

    def _address(self, scope: Scope) -> str:
        return self._services.address_of(scope["client"], scope["headers"])

    async def _open(
        self, scope: Scope, caller: Caller, codec: Codec, kind: type[Stream]
    ) -> tuple[Stream, Connection]:
        services = self._services
        address = self._address(scope)
        services.admission.place(StreamConnection, caller, address)
        services.gate.requests.end(scope)
        stream = kind(services)
        conn = StreamConnection(new_id("conn"), caller, codec, stream, "sse", services.clock())
        conn.address = address
        stream.conn = conn
        await services.admission.enter(conn)
        return stream, conn

    async def events(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        session_id: str,
        after: str | None,
        after_revision: int | None,
        limit: int,
        lineage: str | None,
    ) -> None:
        """`GET …/{id}/events`: `welcome`, then what happens. Raises ChatError before anything is sent."""
        services = self._services
        await self.admit(scope, caller)
        stream, conn = await self._open(scope, caller, self._codec, EventStream)
        reason = "closed"
        try:
            joined = await services.joining.join(
                conn, session_id, after_revision, limit, lineage, after=after
            )
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            stream.push(_welcome(joined, conn))
            joined.then()
            del joined  # what it was told is not held while it listens
            await stream.serve(receive, send, lambda: False)
            reason = stream.error.code if stream.error else reason
        finally:
            self._services.admission.left(conn, reason)

    async def answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        session_id: str,
        first: "Begin",
        *,
        at_once: bool = False,
    ) -> None:
        """One stream as `data:` lines. `first` begins the answer, once its reader is in the room: nothing of
        it can be missed. Raises ChatError before anything is sent. `at_once`: the response begins before the
        answer does."""
        head, told = AnswerHead(send), send.grows if isinstance(send, Telling) else None
        if at_once:
            await head.send()

        async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
            return await head.meanwhile(first(conn, stream))

        try:
            async with self._reading(scope, caller, session_id, begin, EventStream) as (stream, codec):
                await head.send()
                grows, codec.at_once = told or GrowingLines(codec).grows, stream.at_once
                try:
                    await stream.serve(receive, send, lambda: codec.ended, open_body(scope), grows)
                finally:
                    codec.at_once = never
        except ChatError as error:
            if not head.sent:
                raise
            body = b"event: error\ndata: " + to_json(error.as_dict()) + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def whole(
        self, scope: Scope, receive: Receive, caller: Caller, session_id: str, first: "Begin"
    ) -> str | None:
        """The id of one stream when it has ended; None if its client went before. Raises ChatError."""

        async def ended() -> str:
            async with self._reading(scope, caller, session_id, first, UnreadStream) as (stream, codec):
                await stream.until(lambda: codec.ended)
                return codec.message_id

        answering = asyncio.create_task(ended())
        listening = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait((answering, listening), return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            listening.cancel()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    @asynccontextmanager
    async def _reading(
        self, scope: Scope, caller: Caller, session_id: str, first: "Begin", kind: type[Stream]
    ) -> AsyncIterator[tuple[Stream, AnswerCodec]]:
        """A reader of one stream, from its beginning on. Raises ChatError."""
        codec = AnswerCodec()
        stream, conn = await self._open(scope, caller, codec, kind)
        reason = "closed"
        try:
            joined: Joined = await self._services.joining.join(conn, session_id, limit=1, hidden=True)
            try:
                answer = await first(conn, stream)
                self._services.gate.limits.admit(READERS, self._readers[answer.message_id])
            except BaseException:
                joined.then()
                raise
            self._readers[answer.message_id] += 1
            codec.message_id, codec.next_index = answer.message_id, answer.next_index
            codec.ended = answer.ended
            stream.push(answer.head)
            answer.head = b""  # it is not held while the rest is read
            member = conn.member(session_id)
            if member is not None:
                # It has the text up to here; what waits is clipped to what it lacks. Where the end is told,
                # that is nothing: neither the beginning that waits, nor the pieces behind it.
                floor = ENDED if answer.ended else answer.next_index
                member.idx = {**(member.idx or {}), answer.message_id: floor}
                member.rev = answer.revision if answer.ended else min(member.rev, answer.revision)
            joined.then()
            yield stream, codec
        except ChatError as error:
            reason = error.code
            raise
        finally:
            if codec.message_id:
                self._read_no_more(codec.message_id)
            self._services.admission.left(conn, reason)

    def _read_no_more(self, message_id: str) -> None:
        self._readers[message_id] -= 1
        if not self._readers[message_id]:
            del self._readers[message_id]

    async def finished(self, send: Send, answer: "StreamedAnswer") -> None:
        """A stream that has ended already."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": RETRY + answer.head, "more_body": False})


def _welcome(joined: Joined, conn: Connection) -> bytes:
    welcome = {**joined.reply, "recovered": joined.recovered, "connection_id": conn.id}
    head = RETRY + b"id: " + joined.reply["position"].encode() + b"\nevent: welcome\ndata: "
    return b"".join((head, one_line(to_json(welcome)), b"\n\n"))


#: Calls of REST open event streams (`server.routes.messages`, `server.routes.streams`).
TRANSPORT = Transport(
    "sse",
    Channel(
        "events",
        "/api/chat/sessions/{session_id}/events",
        "Server-sent events: `event: name`, `data: payload`, `id: position`; commands go by REST",
        commands=False,
    ),
)

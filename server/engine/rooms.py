"""python-socketio's client manager as the hub's face: who is in a namespace, and emitting to them.

Membership is in `events.hub.Hub`, one for each namespace (the product's own for "/"), so that a room means
the same to `sio.emit(room=...)` and to the domain. Of python-socketio 5.18.1's BaseManager it keeps
`callbacks`, `_generate_ack_id` and the public methods; the Admin UI replaces `basic_enter_room`,
`basic_leave_room` and `emit` and reads `rooms`; tests/engine/test_pins.py fails when they change.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import socketio

from events.errors import ChatError, Unavailable
from events.event import Codec, Event, to_json
from events.hub import Hub
from events.room import Connection
from server.engine import frames, packets
from server.engine.session import Session

if TYPE_CHECKING:
    from server.engine.server import Server


class EventCodec:
    """An event without position as its Socket.IO frame: what a server without a product sends."""

    def __init__(self) -> None:
        self.poisoned = self

    def encode(self, event: Event) -> bytes:
        return packets.text_frame(b'2["' + event.name.encode() + b'",' + event.data + b"]")


class Client(Connection):
    """One client in one namespace. `state` is None while it is connected."""

    __slots__ = ("namespace", "server", "sid", "state")

    can_be_asked = True
    sink: Session

    def __init__(self, server: "Server", sid: str, namespace: str, session: Session, codec: Codec) -> None:
        # the door sets the caller; without one nobody asks
        super().__init__(sid, None, codec, session, "socketio", time.time())  # type: ignore[arg-type]
        self.server = server
        self.sid = sid
        self.namespace = namespace
        self.state: str | None = "connecting"  # or "disconnecting"

    @property
    def session(self) -> Session:
        return self.sink

    @property
    def engine_transport(self) -> str:
        return self.session.transport

    @property
    def last_ping(self) -> float:
        """Epoch seconds of the client's last answer to a ping (or of its coming)."""
        engine = self.session.engine
        return time.time() - (engine.wheel.now() - self.session.last_ping)

    def emit(self, name: str, data: bytes) -> None:
        """An event to this client alone; `data` is one JSON value."""
        body = packets.head(packets.EVENT, self.namespace) + b'["' + name.encode() + b'",' + data + b"]"
        self.session.push(packets.text_frame(body))

    def ack(self, ack_id: int | None, data: bytes) -> None:
        """Acknowledge an event with one JSON value; nothing where no acknowledgement was wanted."""
        if ack_id is not None:
            head = packets.head(packets.ACK, self.namespace, ack_id)
            if len(data) < frames.LONG:
                self.session.push(packets.text_frame(head + b"[" + data + b"]"))
            else:
                self.session.push(frames.long_text(b"4", head, b"[", data, b"]"))

    def ask(self, name: str, data: bytes) -> asyncio.Future[list[Any]]:
        """An event that is to be acknowledged: the arguments of the acknowledgement. The future is
        cancelled when the client goes away; whoever waits sets the time limit."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def callback(*args: Any) -> None:
            if not answer.done():
                answer.set_result(list(args))

        callback.future = answer  # type: ignore[attr-defined]
        id = self.server.manager._generate_ack_id(self.sid, callback)
        head = packets.head(packets.EVENT, self.namespace, id)
        self.session.push(packets.text_frame(head + b'["' + name.encode() + b'",' + data + b"]"))
        return answer

    def end(self, error: ChatError) -> None:
        """Told as an `error` event, but for what passes."""
        if not isinstance(error, Unavailable):
            self.emit("error", to_json(error.as_dict()))
        self.close()

    def send_away(self, error: ChatError) -> None:
        self.disconnect()

    def at_rest(self) -> None:
        """The door makes its line of commands anew."""
        if self.line is not None and self.line.idle:
            self.line = None

    def close(self, reason: str | None = None) -> None:
        """Close the engine, without a word of Socket.IO's: the client comes back by itself."""
        self.session.end(reason or self.session.engine.reason.SERVER_DISCONNECT)

    def disconnect(self) -> None:
        """Send packet 41: the client does not come back by itself."""
        self.server.disconnect_soon(self)


class Space:
    """One namespace on this node."""

    __slots__ = ("codec", "hub", "members")

    def __init__(self, hub: Hub, codec: Codec) -> None:
        self.hub = hub
        self.codec = codec
        self.members: dict[str, Client] = {}  # by sid

    def find(self, room: Any) -> Iterable[Connection]:
        """The clients of a room, of several, of a sid, or all (None); of other transports too."""
        if room is None:
            return self.members.values()
        if isinstance(room, list | tuple | set):
            return dict.fromkeys(conn for one in room for conn in self.find(one))
        found = self.hub.rooms.get(room)
        if found is not None:
            return found.members
        client = self.members.get(room)
        return () if client is None else (client,)

    def sinks(self, room: Any) -> list[Any]:
        if type(room) is str:
            found = self.hub.rooms.get(room)
            if found is not None and not found.guarded and len(found.groups) == 1:
                sinks = found.groups.get(self.codec)
                if sinks is not None:  # everybody, as they stand
                    return list(sinks.values())
        return [conn.sink for conn in self.find(room) if isinstance(conn, Client)]


class Manager(socketio.AsyncManager):  # type: ignore[misc]  # socketio has no types
    """Namespaces as `Space`s; an event is encoded once, and every member gets the same bytes."""

    server: "Server"

    def __init__(self) -> None:
        super().__init__()
        self.spaces: dict[str, Space] = {}

    @property
    def rooms(self) -> dict[str, dict[Any, Any]]:
        """{namespace: {None: {sid: eio_sid}}}, as far as the Admin UI looks."""
        return {
            name: {None: {sid: client.session.sid for sid, client in space.members.items()}}
            for name, space in self.spaces.items()
        }

    @rooms.setter
    def rooms(self, value: Any) -> None:
        """BaseManager.__init__ sets its own."""

    def client(self, sid: str | None, namespace: str) -> Client | None:
        space = self.spaces.get(namespace)
        return space.members.get(sid) if space is not None and sid is not None else None

    # --- who is there

    def get_namespaces(self) -> Iterable[str]:
        return self.spaces.keys()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        space = self.spaces.get(namespace)
        for conn in list(space.find(room)) if space is not None else ():
            if isinstance(conn, Client):
                yield conn.sid, conn.session.sid

    def is_connected(self, sid: str, namespace: str) -> bool:
        client = self.client(sid, namespace)
        return client is not None and client.state is None

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        client = self.client(sid, namespace)
        return client is not None and client.state == "connecting"

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        session = self.server.eio.sockets.get(eio_sid)
        client = None if session is None else self.of_session(session, namespace)
        return None if client is None else client.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        client = self.client(sid, namespace)
        return None if client is None else client.session.sid

    @staticmethod
    def of_session(session: Session, namespace: str) -> Client | None:
        if namespace == "/":
            return session.client
        return session.others.get(namespace) if session.others else None

    # --- coming and going

    def add(self, session: Session, namespace: str) -> Client | None:
        """A client that is not connected yet; None if the session is in that namespace already."""
        if self.of_session(session, namespace) is not None:
            return None
        space = self.spaces.get(namespace)
        if space is None:
            space = self.spaces[namespace] = self.server.new_space(namespace)
        sid: str = self.server.eio.generate_id()
        client = space.members[sid] = Client(self.server, sid, namespace, session, space.codec)
        if namespace == "/":
            session.client = client
        else:
            session.others = {**(session.others or {}), namespace: client}
        return client

    def rename(self, client: Client, old: str) -> None:
        """The door gave the client another sid than `old`: the one it had before it was cut off. Another
        client that still has it (the same one's broken connection) is no longer found by it."""
        members = self.spaces[client.namespace].members
        if members.get(old) is client:
            del members[old]
        members[client.sid] = client

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        session = self.server.eio.sockets.get(eio_sid)
        client = None if session is None else self.add(session, namespace)
        return None if client is None else client.sid

    async def connect(self, sid: str, namespace: str) -> str | None:
        client = self.client(sid, namespace)
        if client is None:  # python-socketio: then it is an Engine.IO sid
            new = await self.pre_connect(sid, namespace)
            client = self.client(new, namespace)
        if client is None:
            return None
        client.state = None
        return client.sid

    def pre_disconnect(self, sid: str, namespace: str) -> str:
        client = self.spaces[namespace].members[sid]
        client.state = "disconnecting"
        return client.session.sid

    async def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        client = self.client(sid, namespace)
        if client is not None:
            self.remove(client)

    def remove(self, client: Client) -> None:
        space = self.spaces.get(client.namespace)
        if space is None:
            return
        if space.members.get(client.sid) is client:
            del space.members[client.sid]
            for callback in self.callbacks.pop(client.sid, {}).values():
                if (waiting := getattr(callback, "future", None)) is not None:
                    waiting.cancel()
        for member in client.rooms:
            self.basic_leave_room(client.sid, client.namespace, member.room.name, client)
        session = client.session
        if session.client is client:
            session.client = None
        elif session.others and session.others.get(client.namespace) is client:
            session.others = {n: c for n, c in session.others.items() if c is not client} or None
        if not space.members and self.spaces.get(client.namespace) is space:
            del self.spaces[client.namespace]

    # --- rooms

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        client = self.client(sid, namespace)
        if client is None:
            raise ValueError("sid is not connected to requested namespace")
        space = self.spaces[namespace]
        if room != sid and room in space.members:
            raise ValueError("cannot enter a sid room")
        if room != sid:
            space.hub.enter(client, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any, client: Client | None = None) -> None:
        client = client or self.client(sid, namespace)
        if client is not None and namespace in self.spaces:
            self.spaces[namespace].hub.leave(client, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        space = self.spaces.get(namespace)
        if space is None:
            return
        if room in space.members:
            raise ValueError("cannot close a sid room")
        found = space.hub.rooms.get(room)
        for conn in list(found.members) if found is not None else ():
            if isinstance(conn, Client):
                self.basic_leave_room(conn.sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        client = self.client(sid, namespace)
        return [] if client is None else [sid, *(member.room.name for member in client.rooms)]

    # --- emitting

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None,
        callback: Any = None, to: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.emit_now(event, data, namespace, to or room, skip_sid, callback)

    def emit_now(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None,
        callback: Any = None,
    ) -> None:  # fmt: skip
        space = self.spaces.get(namespace)
        if space is None:
            return
        args = [event, data] if data is not None else [event]
        if type(data) is tuple:
            args[1:] = data
        skip = () if not skip_sid else (skip_sid,) if isinstance(skip_sid, str) else skip_sid
        if callback is not None:
            for conn in list(space.find(room)):
                if isinstance(conn, Client) and conn.sid not in skip:
                    id = self._generate_ack_id(conn.sid, callback)
                    conn.session.push(self.server.encode(packets.EVENT, namespace, id, args))
            return
        frames = self.server.encode(packets.EVENT, namespace, None, args)
        sinks = space.sinks(room)
        if skip:
            mine = {c.sink for sid in skip if (c := space.members.get(sid)) is not None}
            if mine:
                sinks = [sink for sink in sinks if sink not in mine]
        space.hub.flusher.fan_out(sinks, frames)

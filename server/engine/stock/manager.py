"""python-socketio's client manager as the hubs' face: who is in a namespace, and emitting to them.

Membership is in `events.hub.Hub`, one for each namespace (the product's own for "/"), so that a room means
the same to `sio.emit(room=...)` and to the domain. Of python-socketio 5.18.1's BaseManager it keeps
the public methods; the Admin UI replaces `basic_enter_room`, `basic_leave_room` and `emit` and reads `rooms`;
tests/engine/test_pins.py fails when they change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import socketio

from events.room import Connection
from server.engine import packets
from server.engine.clients import CONNECTED, Ask, Client, State
from server.engine.namespaces import Namespace
from server.engine.server import Server


class Callback(Ask):
    """An application's, for an acknowledgement."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback

    def answered(self, args: list[Any]) -> Awaitable[None] | None:
        answer: Awaitable[None] | None = self._callback(*args)
        return answer

    def gone(self) -> None:
        """It is never called."""


def find(namespace: Namespace, room: Any) -> Iterable[Connection]:
    """The clients of a room, of several, of a sid, or all (None); of other transports too."""
    if room is None:
        return namespace.members.values()
    if isinstance(room, list | tuple | set):
        return dict.fromkeys(conn for one in room for conn in find(namespace, one))
    found = namespace.hub.rooms.get(room)
    if found is not None:
        return found.members
    client = namespace.members.get(room)
    return () if client is None else (client,)


def sinks(namespace: Namespace, room: Any) -> list[Any]:
    if type(room) is str:
        found = namespace.hub.rooms.get(room)
        if found is not None and not found.guarded and len(found.groups) == 1:
            everybody = found.groups.get(namespace.codec)
            if everybody is not None:  # as they stand
                return list(everybody.values())
    return [conn.sink for conn in find(namespace, room) if isinstance(conn, Client)]


class Manager(socketio.AsyncManager):  # type: ignore[misc]  # socketio has no types
    """An event is encoded once, and every member gets the same bytes."""

    core: Server

    @property
    def spaces(self) -> dict[str, Namespace]:
        """The namespaces where somebody is."""
        return {name: space for name, space in self.core.namespaces.items() if space.members}

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
        space = self.core.namespaces.get(namespace)
        return space.members.get(sid) if space is not None and sid is not None else None

    # --- who is there

    def get_namespaces(self) -> Iterable[str]:
        return self.spaces.keys()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        space = self.core.namespaces.get(namespace)
        for conn in list(find(space, room)) if space is not None else ():
            if isinstance(conn, Client):
                yield conn.sid, conn.session.sid

    def is_connected(self, sid: str, namespace: str) -> bool:
        client = self.client(sid, namespace)
        return client is not None and client.state is CONNECTED

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        client = self.client(sid, namespace)
        return client is not None and client.state is State.CONNECTING

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        session = self.core.engine.sessions.get(eio_sid)
        client = None if session is None else session.client_in(namespace)
        return None if client is None else client.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        client = self.client(sid, namespace)
        return None if client is None else client.session.sid

    # --- coming and going, with another serializer

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        session = self.core.engine.sessions.get(eio_sid)
        space = self.core.namespace(namespace)
        if session is None or space is None or session.client_in(namespace) is not None:
            return None
        return space.add(session, self.core.engine.generate_id()).sid

    async def connect(self, sid: str, namespace: str) -> str | None:
        client = self.client(sid, namespace)
        if client is None:  # python-socketio: then it is an Engine.IO sid
            new = await self.pre_connect(sid, namespace)
            client = self.client(new, namespace)
        if client is None:
            return None
        client.state = CONNECTED
        return client.sid

    def pre_disconnect(self, sid: str, namespace: str) -> str:
        client = self.core.namespaces[namespace].members[sid]
        client.state = State.LEAVING
        return client.session.sid

    async def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        client = self.client(sid, namespace)
        if client is not None:
            self.core.namespaces[namespace].remove(client)

    async def trigger_callback(self, sid: str, id: int, data: list[Any]) -> None:
        client = self.client(sid, "/")
        for space in self.core.namespaces.values():
            client = client or space.members.get(sid)
        ask = client.asks.pop(id, None) if client is not None and client.asks else None
        answer = None if ask is None else ask.answered(data)
        if asyncio.iscoroutine(answer):
            await answer

    # --- rooms

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        client = self.client(sid, namespace)
        if client is None:
            raise ValueError("sid is not connected to requested namespace")
        space = self.core.namespaces[namespace]
        if room != sid and room in space.members:
            raise ValueError("cannot enter a sid room")
        if room != sid:
            space.hub.enter(client, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        client = self.client(sid, namespace)
        if client is not None:
            self.core.namespaces[namespace].hub.leave(client, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        space = self.core.namespaces.get(namespace)
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
        space = self.core.namespaces.get(namespace)
        if space is None:
            return
        args = [event, data] if data is not None else [event]
        if type(data) is tuple:
            args[1:] = data
        skip = () if not skip_sid else (skip_sid,) if isinstance(skip_sid, str) else skip_sid
        if callback is not None:
            for conn in list(find(space, room)):
                if isinstance(conn, Client) and conn.sid not in skip:
                    id = conn.awaits(Callback(callback))
                    conn.session.push(self.server.encode(packets.EVENT, namespace, id, args))
            return
        data = self.server.encode(packets.EVENT, namespace, None, args)
        targets = sinks(space, room)
        if skip:
            mine = {c.sink for sid in skip if (c := space.members.get(sid)) is not None}
            if mine:
                targets = [sink for sink in targets if sink not in mine]
        space.hub.flusher.fan_out(targets, data)

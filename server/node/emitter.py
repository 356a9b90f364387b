"""Takes what stock Socket.IO emitters publish to members of rooms on this node. Knows no Redis."""

import logging
from typing import Any

import msgspec

from events.custom import custom
from events.errors import ChatError
from events.hub import Hub
from events.observer import Observer

log = logging.getLogger("parley.cluster")


class Emit(msgspec.Struct):
    """What `socketio.AsyncRedisManager(write_only=True)` publishes for `emit`: JSON since python-socketio
    5.16; the pickles of older ones are not read."""

    method: str
    event: str
    data: list[Any] = []
    room: str | list[str] | None = None
    namespace: str = "/"
    binary: bool = False
    callback: Any = None


def emitted(hub: Hub, observer: Observer, message: bytes) -> None:
    """An event that a stock emitter published for rooms: to this node's members, under our rules."""
    try:
        emit = msgspec.json.decode(message, type=Emit)
        if emit.method != "emit" or emit.namespace != "/" or emit.binary or emit.callback is not None:
            raise ValueError("only plain events to a room are taken")
        if len(emit.data) != 1:
            raise ValueError("an event has one object")
        rooms = [emit.room] if isinstance(emit.room, str) else emit.room or []
        for room in rooms:
            event = custom(room, emit.event, emit.data[0])
            here = hub.rooms.get(room)
            if here is not None:
                hub.broadcast(here, event)
    except (ChatError, ValueError, msgspec.MsgspecError) as error:
        observer.dropped("emitter")
        log.warning("dropped a stock emitter's message: %s", getattr(error, "text", None) or error)

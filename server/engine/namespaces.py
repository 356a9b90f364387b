"""One Socket.IO namespace on this node: its door, its members, and how one comes and goes."""

import logging

from events.event import Codec
from events.hub import Hub
from server.engine import reasons
from server.engine.attachments import Attachments
from server.engine.clients import CONNECTED, Client, SocketIOSession, State
from server.engine.context import Work
from server.engine.door import Door
from server.engine.packets import BINARY_EVENT, Packet

#: Letters of an event's name by which its sender is told that it was not taken.
NAME = 100

log = logging.getLogger("parley.engine")


class Namespace:
    """`hub` has its rooms; `codec` is what its broadcast events look like on the wire."""

    def __init__(self, name: str, door: Door, hub: Hub, codec: Codec) -> None:
        self.name, self.door, self.hub, self.codec = name, door, hub, codec
        self.members: dict[str, Client] = {}  # by sid
        self._leave = self.leave  # one object for all of them

    # --- coming and going

    def add(self, session: SocketIOSession, sid: str) -> Client:
        """A client that is not connected yet."""
        client = self.members[sid] = Client(sid, self.name, session, self.codec, self._leave)
        session.join(client)
        return client

    def rename(self, client: Client, old: str) -> None:
        """The door gave the client another sid than `old`: the one it had before it was cut off. Another
        client that still has it (the same one's broken connection) is no longer found by it."""
        if self.members.get(old) is client:
            del self.members[old]
        self.members[client.sid] = client

    async def leave(self, client: Client, reason: reasons.Reason) -> None:
        if client.state is CONNECTED:
            client.session.attachments = None
            await self.gone(client, reason)

    async def gone(self, client: Client, reason: reasons.Reason) -> None:
        client.state = State.LEAVING
        try:
            waiting = self.door.gone(client, reason)
            if waiting is not None:
                await waiting
        except Exception:
            log.exception("error in a disconnect handler")
        finally:
            self.remove(client)

    def remove(self, client: Client) -> None:
        if self.members.get(client.sid) is client:
            del self.members[client.sid]
            asks, client.asks = client.asks, None
            for ask in asks.values() if asks is not None else ():
                ask.gone()
        for member in client.rooms:
            self.hub.leave(client, member.room.name)
        client.session.part(client)

    # --- what another server than the product's does otherwise (server/engine/stock/)

    def answer(self, session: SocketIOSession, packet: bytes) -> None:
        """The answer to a CONNECT that was being decided, and behind it what was sent meanwhile: the official
        client keeps events that come first in a buffer that outlives a broken connection."""
        session.release(packet)

    def was_refused(self, session: SocketIOSession) -> None:
        """Who is refused has no business here."""
        if not session.others:
            session.end(reasons.SERVER_DISCONNECT)

    def attachments(self, client: Client, packet: Packet) -> Attachments:
        """Of what the door will not take, no more is kept than tells who waits: its attachments may never
        come, and JSON of the largest packet has become ten times as much."""
        if packet.kind == BINARY_EVENT:
            packet.data = [packet.data[0][:NAME]]
        elif packet.id not in (client.asks or ()):
            packet.data = []
        return Attachments(packet)

    def unusual(self, client: Client, packet: Packet) -> Work | None:
        """An event that is not as clients send theirs: binary, most of all."""
        self.door.refused(client, packet.data[0], packet.id, "binary", 0)
        return None

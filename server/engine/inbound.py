"""From an Engine.IO message to what is done about it: events to their door, acknowledgements to who waits for
them, CONNECT and DISCONNECT to their namespace. What is no packet never gets further.
"""

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from events.outline import Nested
from server.engine import packets, reasons
from server.engine.attachments import ATTACHMENTS_LIMIT
from server.engine.clients import CONNECTED, Client, SocketIOSession
from server.engine.context import Work
from server.engine.door import Problem
from server.engine.namespaces import Namespace
from server.engine.packets import RESERVED, Packet, PacketError, loads

#: Bytes from which a packet is read only if somebody waits for it: no bucket counts those that nobody does.
LONG = 1024

log = logging.getLogger("parley.engine")


class Inbound:
    """The packets of all connections of one server. `namespaces` are those that are there, "/" among them;
    `connect` decides a CONNECT; `payload_limit` is in bytes of an event's payload."""

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        connect: Callable[[SocketIOSession, Packet], Work | None],
        payload_limit: int | None,
    ) -> None:
        self._namespaces = namespaces
        self._connect = connect
        self._door = namespaces["/"].door
        self._payload_limit = payload_limit or sys.maxsize

    def packet(self, session: SocketIOSession, body: bytes) -> Work | None:
        """An Engine.IO message; what is returned has to be awaited before the next one is handled."""
        client = session.client
        if client is None or client.state is not CONNECTED or session.attachments is not None:
            return self._decode(session, body)
        if len(body) < 4 or body[1] != 0x32 or body[2] == 0x2F:
            return self._decode(session, body)
        # an event in the namespace "/": the way that nearly everything takes
        start, ack_id = 2, None
        if body[2] != 0x5B:  # [
            start = body.find(b"[", 2, 3 + packets.ID_DIGITS)
            if start < 0 or not body[2:start].isdigit():
                return self._broken(session, Packet(packets.EVENT, "/", packets.leading_id(body), None, 0))
            ack_id = int(body[2:start])
        try:
            args = loads(body[start:])
        except ValueError as error:
            return self._broken(session, Packet(packets.EVENT, "/", ack_id, None, 0), error)
        if type(args) is not list or not args or type(name := args[0]) is not str:
            return self._broken(session, Packet(packets.EVENT, "/", ack_id, args, 0))
        if name in RESERVED:
            return self._refused(client, name, ack_id, "reserved")
        if len(body) > self._payload_limit < (size := _payload_size(body, start)):
            return self._refused(client, name, ack_id, "large", size)
        del args[0]
        try:
            return self._door.event(client, name, args, ack_id)
        except Exception:
            log.exception("error in the door's event")
            return None

    def _decode(self, session: SocketIOSession, body: bytes) -> Work | None:
        if session.attachments is not None:  # text where one of them is due
            return self._broken(session, None)
        if len(body) > LONG and _is_for_nobody(session, body):
            session.aside()
            return None
        try:
            packet = packets.decode(body)
        except PacketError as error:
            return self._broken(session, error.packet, error.__cause__)
        except UnicodeDecodeError:
            return self._broken(session, None)
        return self._packet(session, packet)

    def _packet(self, session: SocketIOSession, packet: Packet) -> Work | None:
        """Everything else, decoded."""
        kind = packet.kind
        if kind == packets.CONNECT:
            return self._connect(session, packet)
        client = session.client_in(packet.namespace)
        if kind == packets.DISCONNECT and client is not None:
            return client.leave(client, reasons.CLIENT_DISCONNECT)
        if client is None or client.state is not CONNECTED:
            if kind >= packets.BINARY_EVENT:
                return self._broken(session, None)
            session.aside()  # it may have crossed our own disconnect
            return None
        if packet.attachments > ATTACHMENTS_LIMIT:
            return self._broken(session, None)
        if kind >= packets.BINARY_EVENT and packet.attachments:
            session.attachments = self._namespaces[packet.namespace].attachments(client, packet)
            return None
        return self._complete(client, packet)

    def _complete(self, client: Client, packet: Packet) -> Work | None:
        """An event or acknowledgement with all its attachments."""
        if packet.kind in (packets.ACK, packets.BINARY_ACK):
            return _acked(client, packet)
        name = packet.data[0]
        if name in RESERVED:
            return self._refused(client, name, packet.id, "reserved")
        try:
            return self._namespaces[client.namespace].unusual(client, packet)
        except Exception:
            log.exception("error in the door's refused")
            return None

    def attachment(self, session: SocketIOSession, data: bytes) -> Work | None:
        """A binary message: the next attachment of the packet that waits for it."""
        waiting = session.attachments
        if waiting is None:
            return self._broken(session, None)
        client = session.client_in(waiting.packet.namespace)
        last = waiting.take(data)
        if waiting.size > session.context.max_size:
            return self._broken(session, None)
        if not last:
            return None
        session.attachments = None
        if client is None:
            return None
        try:
            packet = waiting.whole()
        except PacketError:
            return self._broken(session, waiting.packet)
        return self._complete(client, packet)

    def _broken(
        self, session: SocketIOSession, packet: Packet | None, why: BaseException | None = None
    ) -> Work | None:
        """Not a packet. The door may answer an event with a reply; else the session ends, as Node's does."""
        client = session.client
        event = packet is not None and packet.namespace == "/" and packet.kind == packets.EVENT
        if event and packet is not None and client is not None and client.state is CONNECTED:
            problem: Problem = "nested" if isinstance(why, Nested) else "malformed"
            return self._refused(client, None, packet.id, problem)
        session.end(reasons.TRANSPORT_ERROR)
        return None

    def too_big(self, session: SocketIOSession, beginning: bytes, size: int) -> None:
        """What is too big to be read is answered, too: who waits for an ack sends it again and again."""
        client = session.client
        if client is None or client.state is not CONNECTED:
            return
        if beginning[:2] == b"42" and beginning[2:3] != b"/":
            self._refused(client, None, packets.leading_id(beginning), "large", size)

    def _refused(
        self, client: Client, name: str | None, ack_id: int | None, problem: Problem, size: int = 0
    ) -> Work | None:
        """An event that no handler gets: the door replies."""
        try:
            self._namespaces[client.namespace].door.refused(client, name, ack_id, problem, size)
        except Exception:
            log.exception("error in the door's refused")
        return None


def _is_for_nobody(session: SocketIOSession, body: bytes) -> bool:
    """Of an event or an acknowledgement: its client is not in that namespace, or was asked nothing."""
    if body[1:2] not in (b"2", b"3"):
        return False
    if body[2:3] == b"/":
        return session.others is None
    client = session.client
    return client is None or client.state is not CONNECTED or (body[1:2] == b"3" and not client.asks)


def _acked(client: Client, packet: Packet) -> Work | None:
    ask = client.asks.pop(packet.id, None) if client.asks and packet.id else None
    if ask is None:
        client.session.aside()
        return None
    try:
        waiting = ask.answered(packet.data)
    except Exception:
        log.exception("error in an acknowledgement's callback")
        return None
    if inspect.isawaitable(waiting):
        client.session.context.run(_await(waiting))
    return None


async def _await(answer: Any) -> None:
    await answer


def _payload_size(body: bytes, start: int) -> int:
    """Bytes of all that an event has behind its name, whatever it is; of its name, where that is all."""
    comma = body.find(b",", start)
    return len(body[comma + 1 : body.rfind(b"]")].strip())

"""From an Engine.IO message to what is done about it: events to their handler or the door, acknowledgements
to who waits for them, CONNECT and DISCONNECT to the server. What is no packet never gets further.
"""

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from server.engine import packets
from server.engine.door import Problem, Work
from server.engine.packets import RESERVED, Nested, Packet, PacketError, loads
from server.engine.rooms import Client
from server.engine.session import Session

if TYPE_CHECKING:
    from server.engine.server import Server

#: Binary attachments of one packet; together they may be as large as a message.
ATTACHMENTS_LIMIT: Final = 32
#: Letters of an event's name by which its sender is told that it was not taken.
NAME: Final = 100


class Inbound:
    """The packets of all connections of one server. `payload_limit` is in bytes of an event's payload."""

    def __init__(self, server: "Server", payload_limit: int | None) -> None:
        self._server = server
        self._door = server.door
        self._strict = server.strict
        self._call = server.call_handler
        self._payload_limit = payload_limit or sys.maxsize

    def packet(self, session: Session, body: bytes) -> Work | None:
        """An Engine.IO message; what is returned has to be awaited before the next one is handled."""
        client = session.client
        if client is None or client.state is not None or len(body) < 4 or body[1] != 0x32 or body[2] == 0x2F:
            return self._decode(session, body)
        if session.attachments is not None or not self._strict:
            return self._unusual(session, body)
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
        if self._door is None:
            return self._call(client, name, args, ack_id)
        del args[0]
        try:
            self._door.event(client, name, args, ack_id)
        except Exception:
            self._server.eio.log.exception("error in the door's event")
        return None

    def _decode(self, session: Session, body: bytes) -> Work | None:
        if session.attachments is not None or not self._strict:
            return self._unusual(session, body)
        try:
            packet = packets.decode(body)
        except PacketError as error:
            return self._broken(session, error.packet, error.__cause__)
        except UnicodeDecodeError:
            return self._broken(session, None)
        return self._packet(session, packet)

    def _packet(self, session: Session, packet: Packet) -> Work | None:
        """Everything else, decoded."""
        kind = packet.kind
        if kind == packets.CONNECT:
            return self._server.connect(session, packet)
        client = self._server.manager.of_session(session, packet.namespace)
        if kind == packets.DISCONNECT:
            return (
                None if client is None else self._server.leave(client, self._server.reason.CLIENT_DISCONNECT)
            )
        if client is None or client.state is not None:
            if kind >= packets.BINARY_EVENT:
                return self._broken(session, None)
            return None  # it may have crossed our own disconnect
        if kind in (packets.ACK, packets.BINARY_ACK) and packet.attachments == 0:
            return self._acked(client, packet)
        if packet.attachments > ATTACHMENTS_LIMIT:
            return self._broken(session, None)
        if kind >= packets.BINARY_EVENT and packet.attachments:
            if client.namespace == "/" and self._door is not None:
                self._strip(client, packet)
            session.attachments = _Attachments(packet)
            return None
        return self._complete(client, packet)

    def _strip(self, client: Client, packet: Packet) -> None:
        """Of what the door will not take, no more is kept than tells who waits: its attachments may never
        come, and JSON of the largest packet has become ten times as much."""
        if packet.kind == packets.BINARY_EVENT:
            packet.data = [packet.data[0][:NAME]]
        elif packet.id not in self._server.manager.callbacks.get(client.sid, {}):
            packet.data = []

    def _complete(self, client: Client, packet: Packet) -> Work | None:
        """An event or acknowledgement with all its attachments."""
        if packet.kind in (packets.ACK, packets.BINARY_ACK):
            return self._acked(client, packet)
        name = packet.data[0]
        if name in packets.RESERVED:
            return self._refused(client, name, packet.id, "reserved")
        if client.namespace == "/" and self._door is not None:
            return self._refused(client, name, packet.id, "binary")
        if client.namespace == "/":
            return self._server.call_handler(client, name, packet.data, packet.id)
        work = self._server._handle_event(client.session.sid, client.namespace, packet.id, packet.data)
        if self._server.async_handlers:
            self._server.eio.run(work)  # it only begins a task
            return None
        return work  # type: ignore[no-any-return]

    def attachment(self, session: Session, data: bytes) -> Work | None:
        """A binary message: the next attachment of the packet that waits for it."""
        waiting: _Attachments | None = session.attachments
        if not self._strict:
            return self._unusual(session, data)
        if waiting is None:
            return self._broken(session, None)
        packet = waiting.packet
        client = self._server.manager.of_session(session, packet.namespace)
        refused = client is not None and client.namespace == "/" and self._door is not None
        waiting.size += len(data)
        waiting.parts.append(b"" if refused else data)
        if waiting.size > self._server.eio.max_http_buffer_size:
            return self._broken(session, None)
        if len(waiting.parts) < packet.attachments:
            return None
        session.attachments = None
        if client is None:
            return None
        try:
            packet.data = packet.data if refused else packets.fill(packet.data, waiting.parts)
        except PacketError:
            return self._broken(session, packet)
        return self._complete(client, packet)

    def _unusual(self, session: Session, body: bytes) -> Work | None:
        """Text where an attachment is due; or another serializer's packets, python-socketio's to decode."""
        if self._strict:
            return self._broken(session, None)
        data: Any = body[1:].decode() if body[:1] == b"4" else body
        return self._server._handle_eio_message(session.sid, data)  # type: ignore[no-any-return]

    def _broken(
        self, session: Session, packet: Packet | None, why: BaseException | None = None
    ) -> Work | None:
        """Not a packet. The door may answer an event with a reply; else the session ends, as Node's does."""
        client = session.client
        event = packet is not None and packet.kind in (packets.EVENT, packets.BINARY_EVENT)
        if self._door is not None and client is not None and client.state is None and event:
            assert packet is not None
            if packet.namespace == "/" and packet.kind == packets.EVENT:
                problem: Problem = "nested" if isinstance(why, Nested) else "malformed"
                return self._refused(client, None, packet.id, problem)
        session.end(self._server.reason.TRANSPORT_ERROR)
        return None

    def too_big(self, session: Session, beginning: bytes, size: int) -> None:
        """What is too big to be read is answered, too: who waits for an ack sends it again and again."""
        client = session.client
        if client is None or client.state is not None or self._door is None:
            return
        if beginning[:2] == b"42" and beginning[2:3] != b"/":
            self._refused(client, None, packets.leading_id(beginning), "large", size)

    def _refused(
        self, client: Client, name: str | None, ack_id: int | None, problem: Problem, size: int = 0
    ) -> Work | None:
        """An event that no handler gets: the door replies, without one the session ends."""
        if client.namespace != "/" or self._door is None:
            client.session.end(self._server.reason.TRANSPORT_ERROR)
            return None
        try:
            self._door.refused(client, name, ack_id, problem, size)
        except Exception:
            self._server.eio.log.exception("error in the door's refused")
        return None

    def _acked(self, client: Client, packet: Packet) -> Work | None:
        callback = (
            self._server.manager.callbacks.get(client.sid, {}).pop(packet.id, None) if packet.id else None
        )
        if callback is None:
            return None
        try:
            answer = callback(*packet.data)
        except Exception:
            self._server.eio.log.exception("error in an acknowledgement's callback")
            return None
        if inspect.isawaitable(answer):
            self._server.eio.run(_await(answer))
        return None


def _payload_size(body: bytes, start: int) -> int:
    """Bytes of all that an event has behind its name, whatever it is; of its name, where that is all."""
    comma = body.find(b",", start)
    return len(body[comma + 1 : body.rfind(b"]")].strip())


class _Attachments:
    """A packet whose binary parts have yet to come."""

    __slots__ = ("packet", "parts", "size")

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.parts: list[bytes] = []
        self.size = 0


async def _await(answer: Any) -> None:
    await answer

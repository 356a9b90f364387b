"""What python-socketio sends and takes besides JSON: attachments, and its own packets as frames."""

from typing import Any

from socketio import packet as sio

from events.event import Event
from server.engine import frames, packets
from server.engine.attachments import Attachments
from server.engine.packets import Packet, PacketError


def packet_frames(kind: int, namespace: str, id: int | None, data: Any) -> bytes:
    """The frame of a packet, and those of its attachments."""
    try:
        return packets.packet_frames(kind, namespace, id, data)
    except TypeError:  # bytes inside, or what only the standard library's json can do
        return legacy_frames(sio.Packet(kind, namespace=namespace, data=data, id=id))


def legacy_frames(packet: sio.Packet) -> bytes:
    """The frames of one of python-socketio's own packets."""
    encoded = packet.encode()
    if isinstance(encoded, bytes):  # msgpack
        return frames.frame(frames.BINARY, encoded)
    if isinstance(encoded, str):
        return packets.text_frame(encoded.encode())
    first = packets.text_frame(encoded[0].encode())
    return first + b"".join(frames.frame(frames.BINARY, bytes(part)) for part in encoded[1:])


class EventCodec:
    """An event without position as its Socket.IO frame: what a server without a product sends."""

    def __init__(self) -> None:
        self.poisoned = self

    def encode(self, event: Event) -> bytes:
        return packets.text_frame(b'2["' + event.name.encode() + b'",' + event.data + b"]")


class KeptAttachments(Attachments):
    """They are put where the packet's data names them."""

    __slots__ = ("_parts",)

    def __init__(self, packet: Packet) -> None:
        super().__init__(packet)
        self._parts: list[bytes] = []

    def take(self, data: bytes) -> bool:
        self._parts.append(data)
        return super().take(data)

    def whole(self) -> Packet:
        self.packet.data = fill(self.packet.data, self._parts)
        return self.packet


def fill(data: Any, attachments: list[bytes]) -> Any:
    """Data with its placeholders replaced. Raises PacketError where one names no attachment."""
    if type(data) is list:
        return [fill(item, attachments) for item in data]
    if type(data) is dict:
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise PacketError("no such attachment")
            return attachments[number]
        return {key: fill(item, attachments) for key, item in data.items()}
    return data

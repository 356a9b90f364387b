"""A packet whose binary attachments have yet to come: they are counted. Knows no session."""

from typing import Final

from server.engine.packets import Packet

#: Binary attachments of one packet; together they may be as large as a message.
ATTACHMENTS_LIMIT: Final = 32


class Attachments:
    """They are not kept: no door takes them. `size` is their bytes so far."""

    __slots__ = ("_missing", "packet", "size")

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.size = 0
        self._missing = packet.attachments

    def take(self, data: bytes) -> bool:
        """The next one; whether it was the last."""
        self.size += len(data)
        self._missing -= 1
        return not self._missing

    def whole(self) -> Packet:
        """The packet, now that all have come. Raises PacketError."""
        return self.packet

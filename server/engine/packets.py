"""Socket.IO packets (protocol 5) as bytes: strict decoding, and frames of what we send.

Knows no sessions.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from events.outline import DEPTH, check_outline
from server.engine import frames

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

#: What a client may not call an event: a server, or the other clients, would take it for something else
#: ("*" is python-socketio's name for the handler of all others).
RESERVED: Final = frozenset(
    ("*", "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)
#: Longest acknowledgement id taken: JavaScript counts to 2**53.
ID_DIGITS: Final = 16

#: What is shorter cannot be deeper: each level is two bytes.
_SHALLOW: Final = 2 * DEPTH

_ID: Final = re.compile(rb"[0-9]{1,%d}(?![0-9])" % ID_DIGITS)

#: How a packet of each type in the namespace "/" begins.
_STARTS: Final = tuple(b"4%d" % kind for kind in range(BINARY_ACK + 1))

_loads, _dumps = orjson.loads, orjson.dumps


class PacketError(ValueError):
    """Not a packet that a client may send. `kind`, `id` and `namespace` as far as they could be read."""

    def __init__(self, reason: str, packet: "Packet | None" = None) -> None:
        super().__init__(reason)
        self.packet = packet


def loads(data: bytes) -> Any:
    """Strict JSON: no NaN or Infinity, valid UTF-8, no lone surrogates (orjson refuses these), no NUL,
    which PostgreSQL cannot store and no client sends in earnest. Raises ValueError; Nested before anything
    is built of what is too deep or too wide."""
    if len(data) > _SHALLOW and data.count(b"{") + data.count(b"[") > DEPTH:
        check_outline(data)
    value = _loads(data)
    if 92 in data and b"\\u0000" in data and _has_nul(value):  # a backslash is found six times as fast
        raise ValueError("NUL in a string")
    return value


def _has_nul(value: Any) -> bool:
    # the six characters are also there in an escaped backslash followed by u0000: look
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, list):
        return any(map(_has_nul, value))
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return False


class Packet:
    """One decoded packet; `attachments` is how many binary messages have yet to come."""

    __slots__ = ("attachments", "data", "id", "kind", "namespace")

    def __init__(self, kind: int, namespace: str, id: int | None, data: Any, attachments: int) -> None:
        self.kind = kind
        self.namespace = namespace
        self.id = id
        self.data = data
        self.attachments = attachments


def decode(body: bytes) -> Packet:
    """An Engine.IO MESSAGE packet's text, its "4" included. Raises PacketError."""
    kind = body[1] - 0x30 if len(body) > 1 else -1
    if not 0 <= kind <= 6:
        raise PacketError("unknown packet type")
    pos, attachments, namespace = 2, 0, "/"
    packet = Packet(kind, namespace, None, None, 0)
    if kind >= BINARY_EVENT:
        dash = body.find(b"-", pos, pos + 10)
        if dash < 0 or not body[pos:dash].isdigit():
            raise PacketError("no number of attachments", packet)
        attachments, pos = int(body[pos:dash]), dash + 1
        packet.attachments = attachments
    if body[pos : pos + 1] == b"/":
        comma = body.find(b",", pos)
        name, pos = (body[pos:], len(body)) if comma < 0 else (body[pos:comma], comma + 1)
        namespace = packet.namespace = name.decode().partition("?")[0]
    end = pos
    while body[end : end + 1].isdigit() and end - pos <= ID_DIGITS:
        end += 1
    if end > pos:
        if end - pos > ID_DIGITS:
            raise PacketError("id too long", packet)
        packet.id, pos = int(body[pos:end]), end
    if pos < len(body):
        try:
            packet.data = loads(body[pos:])
        except ValueError as error:
            raise PacketError("not strict JSON", packet) from error
    _check(packet)
    return packet


def _check(packet: Packet) -> None:
    """What data each kind has (socket.io-protocol, "Packet encoding")."""
    kind, data = packet.kind, packet.data
    if kind in (EVENT, BINARY_EVENT):
        good = type(data) is list and len(data) > 0 and type(data[0]) is str
    elif kind in (ACK, BINARY_ACK):
        good = type(data) is list and packet.id is not None
    elif kind == CONNECT:
        good = data is None or type(data) is dict
    else:  # a client sends no CONNECT_ERROR
        good = kind == DISCONNECT and data is None
    if not good:
        raise PacketError("not the data of its kind", packet)


def leading_id(body: bytes) -> int | None:
    """The acknowledgement id of an event in "/" that is not well-formed after it."""
    found = _ID.match(body, 2)
    return int(found[0]) if found else None


def text_frame(body: bytes) -> bytes:
    """The frame of a packet without attachments; `body` begins with its type."""
    return frames.text(b"4" + body)


def head(kind: int, namespace: str, id: int | None = None) -> bytes:
    """What comes before a packet's data."""
    start = b"%d" % kind if namespace == "/" else b"%d%b," % (kind, namespace.encode())
    return start if id is None else start + b"%d" % id


def events_of(namespace: str) -> Callable[[bytes], Any]:
    """Whether an Engine.IO packet is an event in a namespace."""
    mine = b"(?!/)" if namespace == "/" else re.escape(namespace.encode()) + b","
    return re.compile(rb"4(?:2|5[0-9]+-)" + mine).match


def packet_frames(kind: int, namespace: str, id: int | None, data: Any) -> bytes:
    """The frame of a packet. Raises TypeError where `data` is no JSON."""
    body = b"" if data is None else _dumps(data)
    if namespace == "/":
        return frames.text((_STARTS[kind] if id is None else b"4%d%d" % (kind, id)) + body)
    return text_frame(head(kind, namespace, id) + body)

"""Events as they travel through Redis: a stamp that scripts write, and the event's fields. No JSON is read.

`F` epoch mark position previous event | `V` event | `N` proof name NUL body (a signal of a node) |
`C` canary | `Q` question of a round | `H` epoch (one has begun).
"""

import struct

import msgspec

from storage.interfaces import Event
from storage.nodekey import PROOF_BYTES

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode
#: Epoch (12 letters), the position's mark (4), position, position of the room's entry before.
_STAMP = struct.Struct(">x12s4sQQ")
_unpack, _BODY = _STAMP.unpack_from, _STAMP.size

EVENT, VOLATILE, SIGNAL, CANARY, QUESTION, HISTORY = b"FVNCQH"


def body(event: Event) -> bytes:
    """Without a stamp: scripts put it before."""
    return _encode(event)


def stamped(data: bytes) -> Event:
    """An `F` message. Raises msgspec.DecodeError, struct.error."""
    epoch, mark, pos, prev = _unpack(data)
    event = _decode(data[_BODY:])  # a copy of what is mostly small costs less than a view of it
    event.epoch, event.mark, event.pos, event.prev = epoch.decode(), mark.decode(), pos, prev
    return event


def volatile(event: Event) -> bytes:
    return b"V" + _encode(event)


def plain(data: bytes) -> Event:
    """A `V` message. Raises msgspec.DecodeError."""
    return _decode(memoryview(data)[1:])


def signal(proof: bytes, said: bytes) -> bytes:
    return b"N" + proof + said


def signalled(data: bytes) -> tuple[bytes, bytes]:
    """(proof, said) of an `N` message."""
    return data[1 : 1 + PROOF_BYTES], data[1 + PROOF_BYTES :]

"""WebSocket frames (RFC 6455 section 5) as the server sends them: not masked. Reading is `parser.py`'s.

permessage-deflate is not offered: with it a connection costs twice its memory, and a broadcast could no
longer be one frame that every member shares. So no RSV bit is ever valid here.
"""

import struct
from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005  # never on the wire: the peer's Close frame was empty
ABNORMAL: Final = 1006  # never on the wire: the connection ended without a Close frame
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013

_FIN_TEXT: Final = 0x80 | TEXT
#: Bytes from which a message's length takes eight bytes of its head.
LONG: Final = 65536
#: What most frames of ours begin with: a text of so many bytes.
_TEXT_HEADS: Final = tuple(bytes((_FIN_TEXT, n)) for n in range(126))
_HEAD_16 = struct.Struct("!BBH").pack
_HEAD_64 = struct.Struct("!BBQ").pack


def frame(opcode: int, data: bytes) -> bytes:
    """One unfragmented, unmasked frame."""
    n = len(data)
    if n < 126:
        return bytes((0x80 | opcode, n)) + data
    if n < LONG:
        return _HEAD_16(0x80 | opcode, 126, n) + data
    return _HEAD_64(0x80 | opcode, 127, n) + data


def text(data: bytes) -> bytes:
    """The same for a text message; `data` is UTF-8."""
    n = len(data)
    return _TEXT_HEADS[n] + data if n < 126 else frame(TEXT, data)


def long_text(*parts: bytes) -> bytes:
    """A text message of 64 KiB and more, put together with one copy of what may be many megabytes."""
    return b"".join((_HEAD_64(_FIN_TEXT, 127, sum(map(len, parts))), *parts))


def close_frame(code: int, reason: str = "") -> bytes:
    """A Close frame; NO_STATUS makes an empty one. The reason is cut to the 123 bytes there are for it."""
    if code == NO_STATUS:
        return frame(CLOSE, b"")
    text = reason.encode("utf-8", "replace")[:123]
    return frame(CLOSE, code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode())


def valid_close_code(code: int) -> bool:
    """Whether a peer may send it (RFC 6455 section 7.4 and the IANA registry of close codes)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))

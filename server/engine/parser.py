"""WebSocket frames (RFC 6455 section 5) as clients send them: masked. Without I/O; knows nothing of
transports, sessions or JSON.
"""

import codecs
from collections.abc import Callable
from typing import Final, Protocol

from events.held import SMALL
from server.engine.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    NO_STATUS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    valid_close_code,
)

ApplyMask = Callable[[bytes, bytes], bytes]


def _apply_mask(data: bytes, mask: bytes) -> bytes:
    """`data` XOR the repeated four bytes of `mask` (RFC 6455 section 5.3)."""
    n = len(data)
    key = (bytes(mask) * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(n, "little")


apply_mask: ApplyMask
try:  # the C version of the websockets package, when its wheel has one
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover
    apply_mask = _apply_mask

_FIN_TEXT: Final = 0x80 | TEXT
_DATA_OPCODES: Final = frozenset((CONTINUATION, TEXT, BINARY))
_CONTROL_OPCODES: Final = frozenset((CLOSE, PING, PONG))
_NOTHING: Final = bytearray()  # what every parser without a partial frame shares; never written to
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class ProtocolError(Exception):
    """The peer broke RFC 6455: the connection is to be failed with Close `code` (section 7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


#: Bytes of a read of which the frames are looked at in one turn: some thousand of the smallest, which take
#: a few milliseconds. A frame that begins before is taken whole.
AT_A_TIME: Final = 16384
#: Bytes of a message that is too big by which its sender's command may be known.
BEGINNING: Final = 256
#: Bytes of a fragment that is worth a frame of its own.
WORTH: Final = 16


class TooBig(ProtocolError):
    """A message beyond the limit: its beginning and its size, as far as they are known."""

    def __init__(self, beginning: bytes, size: int) -> None:
        super().__init__(TOO_BIG, "message too big")
        self.beginning, self.size = beginning, size


class MessageHandler(Protocol):
    """Takes complete messages. Text is bytes that are valid UTF-8."""

    def text(self, data: bytes, /) -> None: ...

    def binary(self, data: bytes, /) -> None: ...


class ControlHandler(Protocol):
    """Takes control frames, in their order among the messages."""

    def ping_received(self, data: bytes, /) -> None: ...

    def pong_received(self, data: bytes, /) -> None: ...

    def close_received(self, code: int, reason: str, /) -> None:
        """`code` is NO_STATUS for an empty Close frame. Nothing after it is read."""

    def holds(self, by: int, /) -> None:
        """So many bytes more, or fewer, wait for the end of their message."""

    def aside(self) -> None:
        """A frame that brings next to nothing."""


class FrameParser:
    """Cuts a client's byte stream into messages and control frames.

    `feed` calls `receiver` and `control` for whatever a piece of the stream completes; both may be
    replaced at any time, from within those calls too. It returns what the piece has beyond AT_A_TIME, to be
    fed before anything else. It raises ProtocolError at the first fault, after everything before it has been
    handed on; a parser that raised, or has seen a Close frame, is not fed again. Memory is bounded: one
    partial frame and one partial message, of `max_size` bytes together with what one `feed` brings.
    """

    __slots__ = (
        "_buffer", "_message", "_need", "_opcode", "_utf8", "control", "held", "max_size", "receiver",
    )  # fmt: skip

    def __init__(self, receiver: MessageHandler, control: ControlHandler, max_size: int) -> None:
        self.receiver = receiver
        self.control = control
        self.max_size = max_size
        self._buffer = _NOTHING  # the beginning of a frame
        self._need = 0  # its whole length, as far as its head tells
        self._message: bytearray | None = None  # the fragments so far of a message
        self._opcode = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self.held = 0  # of both, as `control` has been told

    def feed(self, data: bytes) -> bytes:
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                self._count()
                return b""
            data = bytes(self._buffer)
            self._buffer = _NOTHING
            self._count()
        pos, size = 0, len(data)
        last = size - 6  # a masked frame has no fewer
        if last > AT_A_TIME:
            last = AT_A_TIME
        while pos <= last:
            first = data[pos]
            length = data[pos + 1] - 128
            if length < 0 or first != _FIN_TEXT or self._message is not None:
                self._check_head(first, length)
            start = pos + 6
            if length > 125:
                if length == 126:
                    start += 2
                    length = data[pos + 2] << 8 | data[pos + 3]
                    minimum = 126
                else:
                    start += 8
                    if size < start:
                        self._need = start - pos
                        break
                    length = int.from_bytes(data[pos + 2 : pos + 10], "big")
                    minimum = 65536
                if length < minimum:
                    raise ProtocolError(PROTOCOL_ERROR, "length not in its shortest form")
            if length > self.max_size:
                begun = data[start : min(start + BEGINNING, start + length)]
                raise TooBig(apply_mask(begun, data[start - 4 : start]) if begun else b"", length)
            stop = start + length
            if stop > size:
                self._need = stop - pos
                break
            body = apply_mask(data[start:stop], data[start - 4 : start]) if length else b""
            pos = stop
            if first == _FIN_TEXT:
                if not body.isascii():
                    _check_utf8(body)
                self.receiver.text(body)
            elif self._other(first, body):
                return b""
        else:
            if pos == size:
                return b""
            if size - pos >= 6:
                return data[pos:]
            self._need = 6
        if size - pos > 1:  # a fault is told as soon as it can be seen
            self._check_head(data[pos], data[pos + 1] - 128)
        else:
            self._need = 2
        self._buffer = bytearray(data[pos:] if pos else data)
        self._count()
        return b""

    def _count(self) -> None:
        """What waits has become more, or less."""
        size = len(self._buffer) if self._message is None else len(self._buffer) + len(self._message)
        if size <= SMALL:
            size = 0
        if size != self.held:
            by, self.held = size - self.held, size
            self.control.holds(by)

    def _check_head(self, first: int, length: int) -> None:
        """What two bytes tell; `length` is the seven-bit one, negative when the mask bit is not set."""
        opcode = first & 15
        if first & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "reserved bits set")
        if length < 0:
            raise ProtocolError(PROTOCOL_ERROR, "frame not masked")
        if opcode in _DATA_OPCODES:
            if opcode == CONTINUATION and self._message is None:
                raise ProtocolError(PROTOCOL_ERROR, "nothing to continue")
            if opcode != CONTINUATION and self._message is not None:
                raise ProtocolError(PROTOCOL_ERROR, "message inside a fragmented message")
        elif opcode in _CONTROL_OPCODES:
            if not first & 0x80:
                raise ProtocolError(PROTOCOL_ERROR, "fragmented control frame")
            if length > 125:
                raise ProtocolError(PROTOCOL_ERROR, "control frame too long")
        else:
            raise ProtocolError(PROTOCOL_ERROR, "reserved opcode")

    def _other(self, first: int, body: bytes) -> bool:
        """Everything but a whole text message; true after a Close frame."""
        opcode = first & 15
        if opcode == PING:
            self.control.ping_received(body)
        elif opcode == PONG:
            self.control.pong_received(body)
        elif opcode == CLOSE:
            self.control.close_received(*_close_data(body))
            return True
        elif first == 0x80 | BINARY:
            self.receiver.binary(body)
        else:
            self._fragment(opcode, body, bool(first & 0x80))
        return False

    def _fragment(self, opcode: int, body: bytes, final: bool) -> None:
        # joined as they come: a list of a million empty fragments would be a way around max_size
        message = self._message
        if message is None:
            message = self._message = bytearray()
            self._opcode = opcode
            self._utf8 = _utf8_decoder() if opcode == TEXT else None
        if len(message) + len(body) > self.max_size:
            raise TooBig(bytes(message[:BEGINNING]), len(message) + len(body))
        if self._utf8 is not None:
            try:
                self._utf8.decode(body, final)
            except UnicodeDecodeError:
                raise ProtocolError(INVALID_DATA, "text is not UTF-8") from None
        message += body
        if len(body) < WORTH and not final:
            self.control.aside()
        if final:
            self._message = self._utf8 = None
        self._count()
        if final:
            if self._opcode == TEXT:
                self.receiver.text(bytes(message))
            else:
                self.receiver.binary(bytes(message))


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_DATA, "text is not UTF-8") from None


def _close_data(body: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame (RFC 6455 section 5.5.1)."""
    if not body:
        return NO_STATUS, ""
    if len(body) == 1:
        raise ProtocolError(PROTOCOL_ERROR, "close frame of one byte")
    code = int.from_bytes(body[:2], "big")
    if not valid_close_code(code):
        raise ProtocolError(PROTOCOL_ERROR, "invalid close code")
    try:
        return code, body[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_DATA, "close reason is not UTF-8") from None

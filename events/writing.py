"""Takes a producer's pieces: each once, in order, within bounds. Knows nothing of who may write.

Text without other parts is written by `chunk` alone, and costs nothing for them.
"""

from collections.abc import Callable, Sequence

import msgspec

from events.chunks import Chunks
from events.clock import Clock
from events.errors import IndexConflict, PayloadTooLarge, StreamClosed, ValidationFailed
from events.parts import TEXT, Part, Step, Text, Tool, check, text_label
from events.room import Connection
from events.stream import Stream
from events.streamparts import Said, StreamParts
from storage.pieces import OWN

#: Longest id of a part.
_ID = 100


class PieceWriter:
    """`max_size` in bytes of UTF-8; `bind` is told which connection writes a stream, `overflow` which stream
    grew too large, and why that is its end, `on_steered` which questions a stream has taken up."""

    def __init__(
        self,
        chunks: Chunks,
        clock: Clock,
        *,
        max_size: int,
        bind: Callable[[Stream, Connection], None],
        overflow: Callable[[Stream, PayloadTooLarge], None],
    ) -> None:
        self._chunks, self._clock, self._max_size = chunks, clock, max_size
        self._bind, self._overflow = bind, overflow
        self.on_steered: Callable[[Stream, Sequence[str]], None] = lambda stream, question_ids: None

    def chunk(
        self,
        stream: Stream,
        content: str,
        index: int | None,
        conn: Connection | None = None,
        now: float | None = None,
        part: str | None = None,
    ) -> int:
        """Accept a piece of text; the producer's next index. `part` names a text part: the last one, or a new
        one. `now`: for those who have just asked the clock.

        Raises IndexConflict, PayloadTooLarge, StreamClosed, ValidationFailed.
        """
        if part is not None or stream.parts is not None:
            return self._text(stream, content, index, conn, now, part)
        if stream.ending is not None:
            raise StreamClosed
        stream.idle_since = now = now or self._clock()
        expected = len(stream.pieces)
        if index is not None and index < expected:
            return expected
        if index is not None and index > expected:
            raise IndexConflict(expected)
        if conn is not None and stream.conn_id != conn.id:
            self._bind(stream, conn)
        if not content:
            return expected
        size = len(content) if content.isascii() else len(content.encode())
        if stream.bytes + size > self._max_size:
            raise self._too_large(stream)
        stream.bytes += size
        stream.pieces.append(content)
        if not stream.flying:
            self._chunks.push(stream, now)
        return expected + 1

    def _text(
        self,
        stream: Stream,
        content: str,
        index: int | None,
        conn: Connection | None,
        now: float | None,
        part: str | None,
    ) -> int:
        """The same where there are other parts, or are about to be."""
        now = now or self._clock()
        expected = self._next(stream, index, conn, now)
        if expected is None or not content:
            return stream.next_index
        parts = stream.parts
        if parts is None and part == TEXT:
            self._append(stream, OWN, content, now)
            return expected + 1
        if parts is None:
            parts = StreamParts(stream)
        if part is None:
            part = parts.text or TEXT
        if part == parts.text:
            self._append(stream, parts.text_label, content, now)
        else:
            self._open(stream, parts, (*parts.opening(part), (text_label(part), content)), now)
        return expected + 1

    def delta(
        self,
        stream: Stream,
        part_id: str,
        content: str,
        index: int | None,
        conn: Connection | None = None,
        now: float | None = None,
    ) -> int:
        """The same for the text of a reasoning, or of a tool's input. Its part was opened by `part`."""
        now = now or self._clock()
        expected = self._next(stream, index, conn, now)
        if expected is None or not content:
            return stream.next_index
        label = stream.parts.deltas.get(part_id) if stream.parts is not None else None
        if label is None:
            raise ValidationFailed("no such reasoning or tool: stream_part opens it", field="part")
        self._append(stream, label, content, now)
        return expected + 1

    def part(
        self,
        stream: Stream,
        part: Part,
        index: int | None,
        conn: Connection | None = None,
        now: float | None = None,
    ) -> int:
        """The same for a whole part: opens it, or takes its place. One without an id is given one."""
        now = now or self._clock()
        if not part.id:
            part.id = self._id_for(stream, part, index)
        expected = self._next(stream, index, conn, now)
        if expected is None:
            return stream.next_index
        check(part)
        parts = stream.parts or StreamParts(stream)
        self._open(stream, parts, parts.replacing(stream, msgspec.to_builtins(part)), now)
        if isinstance(part, Step) and part.steered:
            self.on_steered(stream, part.steered)
        return expected + 1

    @staticmethod
    def _id_for(stream: Stream, part: Part, index: int | None) -> str:
        """The same where its producer repeats it."""
        if isinstance(part, Text) and stream.parts is None and not stream.pieces:
            return TEXT
        if isinstance(part, Tool) and len(part.tool_call_id) <= _ID and part.tool_call_id != TEXT:
            return part.tool_call_id
        return f"part_{stream.next_index if index is None else index}"

    def finish(self, stream: Stream) -> None:
        """A stream that was taken over: a part of which its node had written a half."""
        if stream.parts is not None and (said := stream.parts.unfinished(stream)):
            self._open(stream, stream.parts, said, self._clock())

    @staticmethod
    def check_whole(stream: Stream, said: int | None, *, adopted: bool) -> None:
        """Before a stream's end: its producer has said no more than is known. `said`: its number of pieces,
        where it tells. `adopted`: for this end, so that nothing known may be all of it lost.

        Raises IndexConflict.
        """
        known = stream.next_index
        if known < said if said is not None else adopted and not known:
            raise IndexConflict(known)

    # --- each once, in order, within bounds

    def _next(self, stream: Stream, index: int | None, conn: Connection | None, now: float) -> int | None:
        """The index of a piece that is next, None for a repeat. Raises IndexConflict, StreamClosed."""
        if stream.ending is not None:
            raise StreamClosed
        stream.idle_since = now
        parts = stream.parts
        expected = len(stream.pieces) if parts is None else len(stream.pieces) - parts.put_in
        if index is not None and index != expected:
            if index < expected:
                return None
            raise IndexConflict(expected)
        if conn is not None and stream.conn_id != conn.id:
            self._bind(stream, conn)
        return expected

    def _append(self, stream: Stream, label: str, text: str, now: float) -> None:
        """A piece of a part that is there."""
        size = len(text) if text.isascii() else len(text.encode())
        if stream.bytes + size > self._max_size:
            raise self._too_large(stream)
        stream.bytes += size
        if label != stream.part:
            stream.turn(label)
        stream.pieces.append(text)
        if not stream.flying:
            self._chunks.push(stream, now)

    def _open(self, stream: Stream, parts: StreamParts, said: Said, now: float) -> None:
        """Pieces that open or replace a part: all of them, or none."""
        size = sum([len(text.encode()) for _, text in said])
        if stream.bytes + size > self._max_size:
            raise self._too_large(stream)
        stream.bytes += size
        for label, text in said:
            if label != stream.part:
                stream.turn(label)
            stream.pieces.append(text)
        stream.parts = parts
        parts.catch_up(stream)
        if not stream.flying:
            self._chunks.push(stream, now)

    def _too_large(self, stream: Stream) -> PayloadTooLarge:
        error = PayloadTooLarge(f"a stream holds at most {self._max_size} bytes")
        self._overflow(stream, error)
        return error

"""An answer as the events of a response, numbered.

`sequence_number` counts what was told: one for each event, and for a piece of text one for each of its
characters (an event has the number of its last). So it does not depend on how pieces were merged on their way
to a reader: the same place in an answer has the same number for every reader, at every node, and who says
where he was is told what follows, to the character.
"""

from collections.abc import Iterator
from typing import Any

from events.event import to_json
from events.held import SMALL
from events.outbox import Sink
from server.dialects.answerlines import AnswerLine, Frames
from server.dialects.behind import Behind
from server.dialects.openai.chunks import CHANGED
from server.dialects.openai.errors import broken_off
from server.dialects.openai.output import Json, Output
from server.dialects.openai.responseobject import ResponseHead, response, verdict_on
from server.dialects.steps import EndStep, Steps
from server.transports.codecs import one_line

#: Deltas that grow with the text; those of a tool's arguments are whole.
_GROWING = frozenset({"output_text.delta", "reasoning_text.delta"})


class ResponseEvents(Frames):
    """What one reader is told who has the events up to the number `after`."""

    def __init__(self, head: ResponseHead, after: int = -1, behind: Behind | None = None) -> None:
        super().__init__()
        self._head, self._after, self.behind = head, after, behind
        self._next = 0
        self._steps, self._output = Steps(), Output(behind)
        self._begun = False
        self._sink: Sink | None = None
        self._counted = 0

    def count_for(self, sink: Sink) -> None:
        """The answer's text is kept until the response's last event, which has all of it: its reader's
        connection holds it."""
        self._sink = sink

    def opening(self) -> bytes:
        """The first event: the question is committed, and the response has its name."""
        return b"".join(self._tell("created", {"response": response(self._head, "queued")}))

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        if not line.type:
            told = {"message": line.message, "code": line.code, "retryable": line.retryable}
            yield self._broken_off("streaming", told)  # to its reader alone: the answer goes on
            return
        self._output.message_id = line.message_id or self._output.message_id
        if not self._begun:
            self._begun = True
            yield from self._tell("in_progress", {"response": response(self._head, "in_progress")})
        steps = list(self._steps.take(line))
        for kind, fields in self._output.take(steps):
            yield from self._tell(kind, fields)
        grown = self._output.size - self._counted
        if grown >= SMALL and self._sink is not None:
            self._sink.holds(grown)
            self._counted += grown
        if steps and isinstance(steps[-1], EndStep):
            yield from self._end(steps[-1])

    def _end(self, end: EndStep) -> Iterator[bytes]:
        line = end.line
        if end.changed:
            yield self._broken_off(line.status, CHANGED)
            return
        verdict = verdict_on(line.status, line.finish_reason, line.error, calls=end.calls)
        for kind, fields in self._output.end(verdict.of_items):
            yield from self._tell(kind, fields, counts=not verdict.waits)
        told = response(
            self._head, verdict, self._output.items(verdict.of_items), line.usage, line.tokens_used
        )
        self.ended = True
        yield from self._tell(verdict.event, {"response": told}, counts=not verdict.waits)

    def _tell(self, kind: str, fields: Json, *, counts: bool = True) -> Iterator[bytes]:
        """The end of an answer that waits does not count: it goes on from where it was before."""
        if not counts:
            yield _frame(f"response.{kind}", {"sequence_number": self._next - 1, **fields})
            return
        begin = self._next
        self._next += len(fields["delta"]) if kind in _GROWING else 1
        number = self._next - 1
        if number <= self._after:
            return
        if begin <= self._after:
            fields = {**fields, "delta": fields["delta"][self._after - begin + 1 :]}
        yield _frame(f"response.{kind}", {"sequence_number": number, **fields})

    def _broken_off(self, status: str, error: Json) -> bytes:
        """Both libraries take an `error` within for one; a clean end would be taken for success."""
        self.ended = True
        head = self._head
        told = broken_off(status, error, response_id=head.id, session_id=head.session_id)
        flat = {name: told[name] for name in ("code", "message", "param")}
        return _frame("error", {"sequence_number": max(0, self._next - 1), **flat, "error": told})


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + one_line(to_json({"type": kind, **fields})) + b"\n\n"

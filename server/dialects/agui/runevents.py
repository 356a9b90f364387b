"""An answer as AG-UI events. Knows no request and no wire: an event is a dict.

Whatever is opened is closed before the run ends, or its client fails the run. A client that has not declared
version 1.0 (`modern`) takes an outcome of that version for a broken event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from events.errors import StreamClosed
from server.dialects.agui.bodies import LONGEST_ID, PROTOCOL, KnownMessage
from server.dialects.agui.toolevents import ToolEvents, named
from server.dialects.answerlines import AnswerLine
from server.dialects.partsteps import GrownPart, PartSteps, ShownPart
from server.dialects.steps import EndStep, Part
from server.transports.growing import MARK

Json = dict[str, Any]

#: How an answer that is not whole is told where it names no error of its own.
NOT_WHOLE = {
    "interrupted": "the answer broke off: nobody writes it any more; its text so far is kept",
    "failed": "the answer failed; its text so far is kept",
    "length": "the answer was cut off at its limit of tokens",
    "content_filter": "the answer was filtered",
}
CHANGED = "the answer was written anew; its message has all of it"
#: By this code clients know a run that was stopped: it is shown, and is no failure.
STOPPED = {"code": "abort", "message": "the answer was stopped; its text so far is kept"}
#: Characters of one event's text, six of JSON each at most: a client fails of 10 Mi without a boundary.
LONGEST = 1_000_000
#: A data part of this name is the run's state.
STATE = "state"
_USAGE = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "reasoning_tokens": "reasoningTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
}
_INTERRUPT = {
    "reason": "reason",
    "message": "message",
    "response_schema": "responseSchema",
    "expires_at": "expiresAt",
}


class RunEvents:
    """One reader's, of one answer. `ended`: the last event was given out."""

    def __init__(self, thread_id: str, run_id: str, *, modern: bool) -> None:
        self.ended = False
        self._ids = {"threadId": thread_id, "runId": run_id}
        self._modern = modern
        self._steps, self._tools = PartSteps(), ToolEvents()
        self._message_id = self._parent = ""
        self._messages: dict[str, str] = {}  # what the client has of parts that are texts, by the part
        self._has_text = False
        self._open: tuple[str, str] | None = None  # the kind and id of what is being told
        self._last = ""  # the part that grew last
        self._skips: dict[str, int] = {}  # characters of a message that the client has
        self._once: set[str] = set()
        self._before: Sequence[Json] = ()  # an interrupt
        self._step = 0

    def knows(self, messages: Iterable[KnownMessage]) -> None:
        """The client has these, and is told what is missing to them."""
        for message in messages:
            is_ours = len(message.id) <= LONGEST_ID
            if is_ours and isinstance(message.content, str) and message.role in ("assistant", "reasoning"):
                self._skips[message.id] = len(message.content)
            for each in message.tool_calls or ():
                if len(each.id) <= LONGEST_ID:
                    self._tools.knows_call(each.id)
            if message.role == "tool" and message.tool_call_id is not None:
                self._tools.knows_result(message.tool_call_id)

    def before_interrupt(self, events: Sequence[Json]) -> None:
        """These are to be told first, should the run end with one."""
        self._before = events

    def begins(self) -> Json:
        return {"type": "RUN_STARTED", **self._ids, **({"protocolVersion": PROTOCOL} if self._modern else {})}

    def tell(self, line: AnswerLine) -> Iterator[Json]:
        self._message_id = line.message_id or self._message_id
        if not line.type:
            if line.code == StreamClosed.code:
                yield from self._stopped(line)  # before it began
            else:
                yield from self._error(line.code, line.message)  # to its reader alone: the answer goes on
            return
        for step in self._steps.take(line):
            match step:
                case GrownPart():
                    yield from self._grown(step)
                case ShownPart(part):
                    yield from self._shown(part)
                case EndStep():
                    yield from self._end(step)

    def grows(self) -> tuple[str, Callable[[str], None], Json] | None:
        """`PartSteps.add_to` of the part that is being told, and the event of the text `MARK` of it; None
        where more of it is more than such an event."""
        if (
            self._open is None
            or self._open[1] != self._messages.get(self._last)
            or self._skips.get(self._open[1])
        ):
            return None
        return *self._steps.add_to(self._last), _more(*self._open, MARK)

    # --- texts and thoughts

    def _grown(self, step: GrownPart) -> Iterator[Json]:
        if step.kind == "tool":
            yield from self._tools.grown(step.part_id, step.text)
            return
        message_id = self._message_of(step)
        skipped = min(self._skips.get(message_id, 0), len(step.text))
        if skipped:
            self._skips[message_id] -= skipped
        for at in range(skipped, len(step.text), LONGEST):
            yield from self._begin(step.kind, message_id)
            self._last = step.part_id
            yield _more(step.kind, message_id, step.text[at : at + LONGEST])

    def _message_of(self, step: GrownPart) -> str:
        """Each text is a message: the first one the answer's own, unless calls come before it, for pages show
        a message's calls behind its text."""
        known = self._messages.get(step.part_id)
        if known is None:
            is_own = step.kind == "text" and not self._has_text and not self._tools
            known = self._message_id if is_own else named(self._message_id, step.part_id)
            self._messages[step.part_id] = known
            if step.kind == "text":
                self._has_text, self._parent = True, known
        return known

    def _begin(self, kind: str, message_id: str) -> Iterator[Json]:
        if self._open == (kind, message_id):
            return
        yield from self._close()
        self._open = kind, message_id
        if kind == "text":
            yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
        else:
            yield {"type": "REASONING_START", "messageId": message_id}
            yield {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning"}

    def _close(self) -> Iterator[Json]:
        if self._open is None:
            return
        (kind, message_id), self._open = self._open, None
        if kind == "text":
            yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}
        else:
            yield {"type": "REASONING_MESSAGE_END", "messageId": message_id}
            yield {"type": "REASONING_END", "messageId": message_id}

    # --- other parts

    def _shown(self, part: Part) -> Iterator[Json]:
        match part["type"]:
            case "tool":
                events = list(self._tools.shown(part, self._message_id, self._parent or self._message_id))
                if events:
                    yield from self._close()
                    yield from events
            case "step":
                yield from self._close()
                yield from self._next_step()
            case "data" if part["name"] == STATE:
                yield {"type": "STATE_SNAPSHOT", "snapshot": part["data"]}
            case "data":
                yield {"type": "CUSTOM", "name": part["name"], "value": part["data"]}
            case "source" | "file" if part["id"] not in self._once:
                self._once.add(part["id"])
                yield {"type": "CUSTOM", "name": part["type"], "value": part}

    def _next_step(self) -> Iterator[Json]:
        yield from self._end_step()
        self._step += 1
        yield {"type": "STEP_STARTED", "stepName": str(self._step)}

    def _end_step(self) -> Iterator[Json]:
        if self._step:
            yield {"type": "STEP_FINISHED", "stepName": str(self._step)}

    # --- the end

    def _end(self, end: EndStep) -> Iterator[Json]:
        line = end.line
        if end.changed:
            yield from self._error("ANSWER_CHANGED", CHANGED, line)
        elif line.status == "cancelled":
            yield from self._stopped(line)
        elif line.status in NOT_WHOLE or line.finish_reason == "error":
            error, status = line.error or {}, line.status if line.status in NOT_WHOLE else "failed"
            code, message = error.get("code") or status.upper(), error.get("message") or NOT_WHOLE[status]
            yield from self._error(code, message, line)
        elif line.status == "waiting":
            yield from self._wait(line)
        elif line.finish_reason in NOT_WHOLE:
            yield from self._error(line.finish_reason.upper(), NOT_WHOLE[line.finish_reason], line)
        else:
            yield from self._finish(line, {"type": "success"})

    def _stopped(self, line: AnswerLine) -> Iterator[Json]:
        if self._modern:
            yield from self._finish(line, {"type": "cancelled"})
        else:
            yield from self._error(**STOPPED, line=line)

    def _wait(self, line: AnswerLine) -> Iterator[Json]:
        """First for the page's tools: a page that is asked for people's words, too, would have to give both
        at once."""
        asked = [each for each in line.interrupts or () if "answer" not in each]
        of_page = self._tools.of_page(asked)
        if of_page:
            yield from self._finish(line, {"type": "success", "pendingToolCallIds": of_page})
        else:
            yield from self._all_closed()
            yield from self._before
            yield from self._finish(line, {"type": "interrupt", "interrupts": self._interrupts(asked)})

    def _interrupts(self, asked: Sequence[Json]) -> list[Json]:
        made = []
        for each in asked:
            told = {to: each[name] for name, to in _INTERRUPT.items() if name in each}
            call_id = self._tools.asked_about(each.get("tool_call_id", ""))
            about = {} if call_id is None else {"toolCallId": call_id}
            made.append({"id": named(self._message_id, each["id"]), **told, **about})
        return made

    def _finish(self, line: AnswerLine, outcome: Json) -> Iterator[Json]:
        yield from self._all_closed()
        self.ended = True
        result = {"message_id": self._message_id}
        if line.finish_reason is not None:
            result["finish_reason"] = line.finish_reason
        told: Json = {"type": "RUN_FINISHED", **self._ids, "result": result}
        if self._modern or outcome["type"] == "interrupt":
            told["outcome"] = outcome
        yield told | _usage(line)

    def _error(self, code: str, message: str, line: AnswerLine | None = None) -> Iterator[Json]:
        """The end of a run that is not whole: clients take any other for success."""
        yield from self._all_closed()
        self.ended = True
        told = {"type": "RUN_ERROR", "code": code, "message": message or code}
        yield told | ({} if line is None else _usage(line))

    def _all_closed(self) -> Iterator[Json]:
        yield from self._close()
        yield from self._tools.close()
        yield from self._end_step()
        self._step = 0


def _more(kind: str, message_id: str, text: str) -> Json:
    name = "TEXT_MESSAGE_CONTENT" if kind == "text" else "REASONING_MESSAGE_CONTENT"
    return {"type": name, "messageId": message_id, "delta": text}


def _usage(line: AnswerLine) -> Json:
    usage = line.usage or ({} if line.tokens_used is None else {"total_tokens": line.tokens_used})
    counts = {to: usage[name] for name, to in _USAGE.items() if usage.get(name) is not None}
    if not counts:
        return {}
    return {"usage": [counts if line.model is None else {"model": line.model, **counts}]}

"""A conversation as programs send it, whichever API they use: what was said before, and the question or what
the caller's tools gave. Knows no body."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from events.agents.replies import HISTORY_MESSAGES
from events.errors import ValidationFailed
from events.messages import SaidBefore
from events.outline import Nested
from events.parts import MOST, GivenPart, Text, Tool
from server.dialects.openai.toolcalls import GivenOutput
from server.engine.packets import loads


class ToolCall(NamedTuple):
    """`arguments` is JSON, as a model wrote it."""

    call_id: str
    name: str
    arguments: str


class Entry(NamedTuple):
    """One that says something. Whoever is not the assistant is the caller: a `system` message has no more
    weight than its sender."""

    who: Literal["user", "assistant", "tool"]
    parts: Sequence[GivenPart] = ()
    calls: Sequence[ToolCall] = ()
    output: GivenOutput | None = None


class Conversation(NamedTuple):
    """`outputs` in place of a `question`: its answer goes on. `earlier` has the question then."""

    earlier: Sequence[SaidBefore]
    question: Sequence[GivenPart]
    outputs: Sequence[GivenOutput]


def read(entries: Sequence[Entry], field: str) -> Conversation:
    """As far as an agent is told of it. Raises ValidationFailed."""
    last = entries[-1]
    if last.who == "assistant":
        raise ValidationFailed("the last one is the question, a user's; or what a tool gave", field=field)
    if last.who == "user":
        if not last.parts:
            raise ValidationFailed("say something", field=f"{field}[{len(entries) - 1}].content")
        _check_count(last.parts, field)
        return Conversation(_before(entries[:-1], field), last.parts, ())
    outputs = []
    for entry in reversed(entries):
        if entry.output is None:
            break
        outputs.append(entry.output)
    asked = [number for number, entry in enumerate(entries) if entry.who == "user"]
    earlier = entries[: asked[-1] + 1] if asked else ()
    return Conversation(_before(earlier, field), (), outputs[::-1])


def _check_count(parts: Sequence[GivenPart | Tool], field: str) -> None:
    """As for any message. Raises ValidationFailed."""
    if len(parts) > MOST:
        raise ValidationFailed(f"a message consists of at most {MOST} parts", field=field)


def _before(entries: Sequence[Entry], field: str) -> list[SaidBefore]:
    """The answer to a question is one message, with the calls that it consists of. Raises
    ValidationFailed."""
    said: list[SaidBefore] = []
    previous: Entry | None = None
    answer: list[GivenPart | Tool] = []
    places: dict[str, int] = {}  # of its calls
    for entry in entries:
        if entry.who == "user":
            _check_count(entry.parts, field)
            said.append(SaidBefore(by_agent=False, parts=entry.parts))
        else:
            if not _goes_on(previous, entry):
                answer, places = [], {}
                said.append(SaidBefore(by_agent=True, parts=answer))
            answer += entry.parts
            for call in entry.calls:
                places[call.call_id] = len(answer)
                answer.append(_called(call))
            _check_count(answer, field)
            if entry.output is not None:
                _give(answer, places, entry.output)
        previous = entry
    return [each for each in said if each.parts][-HISTORY_MESSAGES:]


def _goes_on(previous: Entry | None, entry: Entry) -> bool:
    """Whether an entry is of the same answer as the one before it."""
    if previous is None or previous.who == "user":
        return False
    return previous.who == "tool" or bool(previous.calls or entry.calls or entry.output)


def _called(call: ToolCall) -> Tool:
    written: dict[str, Any] = {"input_text": call.arguments}
    if call.arguments:
        with suppress(ValueError, Nested):
            written = {"input": loads(call.arguments.encode())}
    return Tool(
        tool_call_id=call.call_id, name=call.name, state="output_error", executed_by="client", **written,
        error="it gave nothing",
    )  # fmt: skip


def _give(answer: list[GivenPart | Tool], places: Mapping[str, int], given: GivenOutput) -> None:
    """What a call of the answer gave: the last with this id. One that is not there says nothing."""
    place = places.get(given.call_id)
    if place is not None:
        part = answer[place]
        assert isinstance(part, Tool)
        answer[place] = Tool(
            tool_call_id=part.tool_call_id, name=part.name, input=part.input, input_text=part.input_text,
            output=given.output, state="output_available", executed_by="client",
        )  # fmt: skip


def text_in(content: str) -> list[GivenPart]:
    return [Text(text=content)] if content else []

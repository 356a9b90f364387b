"""What an answer consists of, written as parts of its stream."""

from typing import Any

import msgspec
import pytest

from events.agents.answerparts import CUT, AnswerParts
from events.agents.chatturns import messages_of
from events.agents.deltas import (
    Citation,
    Delta,
    Finish,
    NewText,
    NextStep,
    ReasoningDelta,
    StartOver,
    ToolInput,
    ToolOutput,
    ToolReady,
)
from events.agents.earlier import turns_of
from events.agents.modelcall import CalledTool, ModelTurn
from events.agents.room import shortened
from events.agents.turn import TurnReader, merged
from events.parts import Part
from events.schema import Message


class Recorded:
    """The calls that a stream gets, and the parts that they add up to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.parts: dict[str, dict[str, Any]] = {}

    def chunk(self, _: Any, content: str, index: None, *, part: str | None = None) -> int:
        self.calls.append(f"chunk {part or ''}")
        if content:
            text = self.parts.setdefault(part or "text", {"type": "text", "id": part or "text", "text": ""})
            text["text"] += content
        return 0

    def delta(self, _: Any, part_id: str, content: str, index: None) -> int:
        self.calls.append(f"delta {part_id}")
        part = self.parts[part_id]
        field = "input_text" if part["type"] == "tool" else "text"
        part[field] = part.get(field, "") + content
        return 0

    def part(self, _: Any, part: Part, index: None) -> int:
        self.calls.append(f"part {part.id}")
        self.parts[part.id] = msgspec.to_builtins(part)
        return 0


def written(*deltas: Delta, size: int = 100_000, end: bool = True) -> Recorded:
    recorded = Recorded()
    parts = AnswerParts(recorded, None, size)  # type: ignore[arg-type]
    for delta in deltas:
        parts.take(delta)
    if end:
        parts.end("nobody carried it out")
    return recorded


def test_text_alone_makes_no_parts() -> None:
    recorded = written("a", "", "b", Finish("stop"))
    assert recorded.calls == ["chunk ", "chunk ", "chunk "]


def test_an_answer_with_everything() -> None:
    signed = {"reasoning_details": [{"signature": "s"}]}
    recorded = written(
        ReasoningDelta("hm", {"field": "reasoning_content"}), ReasoningDelta("m", signed), "Let me see.",
        ToolInput(0, "c0", "add", '{"a"'), ToolInput(1, "c1", "meet", ""), ToolInput(0, "c0", "add", ":1}"),
        ToolReady(0, {"a": 1}, "Addition"), ToolReady(1, {}),
        ToolOutput(1, error="no"), ToolOutput(0, output={"sum": 1}), Citation("https://a.example", "A"),
        NextStep(), ReasoningDelta("so", thought=1), "It is ", "1.",
    )  # fmt: skip
    assert list(recorded.parts.values()) == [
        {"type": "reasoning", "id": "reasoning-1", "text": "hmm", "provider_metadata": signed},
        {"type": "text", "id": "text", "text": "Let me see."},
        {"type": "tool", "id": "tool-1", "tool_call_id": "c0", "name": "add", "title": "Addition",
         "input": {"a": 1}, "output": {"sum": 1}, "state": "output_available", "executed_by": "agent"},
        {"type": "tool", "id": "tool-2", "tool_call_id": "c1", "name": "meet", "input": {}, "error": "no",
         "state": "output_error", "executed_by": "agent"},
        {"type": "source", "id": "source-1", "url": "https://a.example", "title": "A"},
        {"type": "step", "id": "step-1"},
        {"type": "reasoning", "id": "reasoning-2", "text": "so"},
        {"type": "text", "id": "text-2", "text": "It is 1."},
    ]  # fmt: skip
    assert recorded.calls.count("part reasoning-1") == 2, "opened, and what is for the model at its end"
    assert recorded.calls.count("part reasoning-2") == 1


def test_what_is_asked_again_takes_its_thoughts_back() -> None:
    recorded = written(ReasoningDelta("wrong"), StartOver(), ReasoningDelta("right"), "so")
    assert recorded.parts["reasoning-1"]["text"] == "right"
    recorded = written(ReasoningDelta("first"), "a", NextStep(), StartOver(), "b")
    assert recorded.parts["reasoning-1"]["text"] == "first", "that was another call of the model"
    assert recorded.calls[-1] == "chunk text-2"


def test_texts_of_their_own() -> None:
    assert [
        part["text"] for part in written(NewText(), "a", NewText(), NewText(), "b", "c").parts.values()
    ] == [
        "a",
        "bc",
    ]


def test_a_call_that_nobody_carries_out_does_not_stay_open() -> None:
    tool = written(ToolInput(0, "c0", "add", "{")).parts["tool-1"]
    assert (tool["state"], tool["error"], tool["input_text"]) == (
        "output_error",
        "nobody carried it out",
        "{",
    )
    of_provider = written(
        ToolInput(0, "w", "web_search", "", by_provider=True), ToolOutput(0, input={"q": 1}, output=[])
    )
    assert of_provider.parts["tool-1"]["executed_by"] == "provider"


def test_the_answer_comes_before_what_was_thought() -> None:
    recorded = written(*[ReasoningDelta("x" * 100)] * 10, "answer", size=1000)
    assert recorded.parts["reasoning-1"]["text"] == "x" * 300 + CUT
    big = {"reasoning_details": [{"data": "x" * 1000}]}
    assert "provider_metadata" not in written(ReasoningDelta("x", big), size=1000).parts["reasoning-1"]


def test_an_id_that_no_part_can_have_goes_back_all_the_same() -> None:
    long = "call_" + "x" * 500
    tool = written(ToolInput(0, long, "add", "{}"), ToolReady(0, {}), ToolOutput(0, output="3")).parts[
        "tool-1"
    ]
    assert tool["tool_call_id"] == "tool-1"
    [turn] = turns_of(said(tool))
    assert turn.calls == [CalledTool(long, "add", "{}", "3")]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "/doc", "https://a b", "x" * 9000])
def test_a_source_is_an_address_of_the_web(url: str) -> None:
    assert written(Citation(url)).parts == {}


def said(*parts: dict[str, Any]) -> Message:
    return Message(
        message_id="m", session_id="s", seq=1, revision=1, sender_type="agent", sender_id="1",
        message_type="stream", content="x", metadata={}, status="complete", created_at="", is_edited=False,
        parts=list(parts),  # type: ignore[arg-type]
    )  # fmt: skip


def test_an_earlier_answer_is_told_with_its_tools() -> None:
    signature = {"extra_content": {"google": {"thought_signature": "c"}}}
    parts = written(
        ReasoningDelta("hm", {"reasoning_details": [{"data": "e"}]}), "Let me see.",
        ToolInput(0, "c0", "add", "{}", signature), ToolReady(0, {}), ToolOutput(0, output={"sum": 1}),
        NextStep(), "One.", ToolInput(1, "c1", "meet", "{}"), ToolReady(1, {}),
        end=False,
    ).parts.values()  # fmt: skip
    first, second = turns_of(said(*parts))
    assert messages_of(first, running=False) == [
        {"role": "assistant", "content": "Let me see.", "reasoning_details": [{"data": "e"}],
         "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "add", "arguments": "{}"},
                         **signature}]},
        {"role": "tool", "tool_call_id": "c0", "content": '{"sum":1}'},
    ]  # fmt: skip
    assert messages_of(second, running=False)[1]["content"] == "(it was stopped before it ended)"
    assert turns_of(said({"type": "reasoning", "text": "hm"}, {"type": "text", "text": "x"})) == []


def test_what_was_cut_up_is_given_back_whole() -> None:
    pieces: list[dict[str, Any]] = [
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "a"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "b", "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "e"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "a"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "b", "signature": "s"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "c"}]},
    ]
    made: dict[str, Any] | None = None
    for piece in pieces:
        made = merged(made, piece)
    assert made == {
        "reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
            {"type": "reasoning.encrypted", "index": 1, "data": "e"},
        ],
        "thinking_blocks": [
            {"type": "thinking", "thinking": "ab", "signature": "s"},
            {"type": "thinking", "thinking": "c"},
        ],
    }


def test_words_go_back_while_tools_run_alone() -> None:
    reader = TurnReader()
    for delta in (ReasoningDelta("hm", {"field": "reasoning_content"}), ReasoningDelta("m"), "a"):
        reader.take(delta)
    turn = reader.told({})
    assert messages_of(turn, running=True)[0]["reasoning_content"] == "hmm"
    assert "reasoning_content" not in messages_of(turn, running=False)[0]


def test_outputs_are_cut_to_the_room_there_is() -> None:
    turns = [
        ModelTurn(calls=[CalledTool(str(n), "f", "{}", "x" * size)]) for n, size in enumerate((100, 9000))
    ]
    sizes = [len(call.output) for turn in shortened(turns, 5000) for call in turn.calls]
    assert sizes == [100, 4900]
    assert [len(call.output) for turn in shortened(turns, 0) for call in turn.calls] == [100, 256]
    assert shortened(turns, 10_000) == turns

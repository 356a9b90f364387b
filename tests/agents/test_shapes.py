"""What servers send is read as what it means, whatever the pieces in which it comes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from events.agents.chat import Answer
from events.agents.completions import CompletionReader
from events.agents.deltas import (
    Citation,
    Delta,
    Finish,
    Model,
    NewText,
    ReasoningDelta,
    ToolInput,
    ToolOutput,
    Unread,
)
from events.agents.eventstream import EventReader
from events.agents.faults import Kind, UpstreamFault, fault_of
from events.agents.reading import ENCRYPTED
from events.agents.responses import ResponseReader
from events.schema import Usage
from tests.agents.shapes.errors import ERRORS
from tests.agents.shapes.overflows import OVERFLOWS
from tests.agents.shapes.refusal import Refused
from tests.agents.shapes.responses import SHAPES as RESPONSES
from tests.agents.shapes.shape import Shape
from tests.agents.shapes.streams import SHAPES

AGENTS = Path(__file__).parents[2] / "docs" / "agents.md"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def named(shape: Shape | Refused) -> str:
    return f"{shape.server}: {shape.shows}"


@pytest.mark.parametrize("shape", [*SHAPES, *RESPONSES], ids=named)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream(shape: Shape, size: int) -> None:
    reader = ResponseReader(limit=shape.limit) if shape in RESPONSES else CompletionReader()
    answer = Answer(EventReader(100_000), reader, 100_000)
    deltas: list[Delta] = []
    fault = None
    try:
        for data in pieces(shape.body, size):
            for found in answer.feed(data):
                deltas += found
        deltas += answer.end()
    except UpstreamFault as error:
        fault = error.fault.kind
    assert fault == shape.fault
    assert text_of(deltas) == shape.text
    assert " | ".join(thoughts(deltas)) == shape.reasoning
    assert encrypted(deltas) == shape.encrypted
    assert tuple(each for each in deltas if isinstance(each, ToolOutput)) == shape.outputs
    assert calls(deltas) == shape.calls
    assert tuple(each for each in deltas if isinstance(each, Citation)) == shape.sources
    assert next((each for each in reversed(deltas) if isinstance(each, Usage)), Usage()) == shape.usage
    reasons = [each.reason for each in deltas if isinstance(each, Finish)]
    assert reasons == ([shape.finish] if shape.finish else [])
    assert reader.finished == bool(reasons)
    assert {each.field for each in deltas if isinstance(each, Unread)} == shape.unread


def text_of(deltas: list[Delta]) -> str:
    texts = ("\n\n" if isinstance(each, NewText) else each for each in deltas)
    return "".join(each for each in texts if isinstance(each, str))


def thoughts(deltas: list[Delta]) -> list[str]:
    """The words of each that has some."""
    found: dict[int, str] = {}
    for each in deltas:
        if isinstance(each, ReasoningDelta) and each.content:
            found[each.thought] = found.get(each.thought, "") + each.content
    return [found[number] for number in sorted(found)]


def encrypted(deltas: list[Delta]) -> tuple[tuple[int, str], ...]:
    told = [each for each in deltas if isinstance(each, ReasoningDelta) and each.provider_metadata]
    return tuple(
        (each.thought, each.provider_metadata[ENCRYPTED]["encrypted_content"])
        for each in told
        if each.provider_metadata and ENCRYPTED in each.provider_metadata
    )


def calls(deltas: list[Delta]) -> tuple[tuple[str, str, str], ...]:
    """(id, name, arguments) of each, put together by its number."""
    found: dict[int, tuple[str, str, str]] = {}
    for each in deltas:
        if isinstance(each, ToolInput):
            said = found.get(each.call, ("", "", ""))[2]
            found[each.call] = (each.tool_call_id, each.name, said + each.content)
    return tuple(found[number] for number in sorted(found))


def test_what_goes_back_to_the_model_alone_is_kept() -> None:
    by_name = {named(shape): shape for shape in SHAPES}
    signed = read(by_name["Gemini: two tool calls without index, `stop` for them, signatures"])
    first = next(each for each in signed if isinstance(each, ToolInput))
    assert first.provider_metadata == {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    routed = read(by_name["OpenRouter: comments that keep alive, reasoning twice: words and details"])
    secret = [each for each in routed if isinstance(each, ReasoningDelta) and not each.content]
    assert secret[0].provider_metadata == {
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 1}]
    }
    models = [each.name for each in read(by_name["LiteLLM: reasoning, usage in a chunk with an empty choice"])
              if isinstance(each, Model)]  # fmt: skip
    assert models == ["tiny"]


def read(shape: Shape) -> list[Delta]:
    answer = Answer(EventReader(100_000), CompletionReader(), 100_000)
    return [delta for found in answer.feed(shape.body) for delta in found]


@pytest.mark.parametrize("shape", ERRORS, ids=named)
def test_a_refusal(shape: Refused) -> None:
    fault = fault_of(shape.status, shape.body)
    assert (fault.kind, fault.asked, fault.window, fault.wait) == (
        shape.kind,
        shape.asked,
        shape.window,
        shape.wait,
    )


@pytest.mark.parametrize(("server", "status", "text", "asked", "window"), OVERFLOWS)
def test_too_long_in_other_words(
    server: str, status: int, text: str, asked: int | None, window: int | None
) -> None:
    fault = fault_of(status, text.encode())
    assert (fault.kind, fault.asked, fault.window) == (Kind.CONTEXT, asked, window)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "The model does not exist; try an alternative model", Kind.OTHER),
        (400, "Unsupported value: 'temperature' does not support 0.5 with this model.", Kind.OTHER),
        (
            400,
            "max_tokens is too large: 9000. This model supports at most 4096 tokens",
            Kind.OTHER,
        ),
        (500, "The server had an error", Kind.SERVER),
        (None, '"Rate limit exceeded"', Kind.RATE_LIMIT),
        (None, '{"message": "Overloaded", "type": "overloaded_error"}', Kind.SERVER),
        (403, "Forbidden", Kind.UNAUTHORIZED),
    ],
)
def test_what_is_something_else(status: int | None, text: str, kind: Kind) -> None:
    assert fault_of(status, text.encode()).kind == kind


@pytest.mark.parametrize("thinking", ["tags", "open"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_reasoning_between_tags(thinking: str, size: int) -> None:
    text = "so </b> it <is\n</think>\n\nYes, <think> is a tag"
    if thinking == "tags":
        text = f"\n<think>\n{text}"
    reader = CompletionReader(thinking)  # type: ignore[arg-type]
    deltas: list[Delta] = []
    for at in range(0, len(text), size):
        content = text[at : at + size].replace("\n", "\\n").replace('"', '\\"')
        deltas += reader.feed(b'{"choices": [{"delta": {"content": "%s"}}]}' % content.encode())
    deltas += reader.feed(b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    thought = "".join(each.content for each in deltas if isinstance(each, ReasoningDelta))
    said = "".join(each for each in deltas if isinstance(each, str))
    assert (thought, said) == ("so </b> it <is\n", "Yes, <think> is a tag")


@pytest.mark.parametrize("text", ["<think", "<", "no", "  <thin"])
def test_what_may_have_become_a_tag_is_text_in_the_end(text: str) -> None:
    reader = CompletionReader("tags")
    deltas = reader.feed(b'{"choices": [{"delta": {"content": "%s"}}]}' % text.encode())
    deltas += reader.feed(b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}')
    assert "".join(each for each in deltas if isinstance(each, str)) == text


def test_the_documents_name_each_source() -> None:
    """A row for each server: what was run, and what is from recordings or documents."""
    lines = AGENTS.read_text().splitlines()
    told: list[Shape | Refused] = [*SHAPES, *RESPONSES, *ERRORS]
    for shape in told:
        if shape.server != "any":
            row = next((line for line in lines if line.startswith(f"| {shape.server} |")), "")
            assert shape.how in row, f"{named(shape)}: {shape.how}"
            assert shape.how != "run" or shape.source.removesuffix(" (PyPI)") in row

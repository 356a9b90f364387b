"""Writes what an answer consists of into its stream, as parts. Knows no kind of agent, and no wire format."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Struct

from events.agents.chatturns import WORDS
from events.agents.deltas import (
    Citation,
    Delta,
    NewText,
    NextStep,
    ReasoningDelta,
    StartOver,
    ToolAsked,
    ToolDecided,
    ToolInput,
    ToolOutput,
    ToolReady,
)
from events.agents.earlier import CALL_ID
from events.agents.toolasking import SHOWN_TOOL, call_id, number_of, part_id
from events.agents.turn import KeptMetadata, merged
from events.parts import MOST, STEERED, TEXT, Part, Reasoning, Source, Step, Tool, Url
from events.stream import Stream

#: Of a message's parts, those that are left to text and tools when there are more sources.
MOST_SOURCES = MOST - 200
#: Of what a stream may hold: for reasoning, and for what sources say. The answer itself comes first.
THOUGHTS, SNIPPETS = 1 / 4, 1 / 16
#: Characters of names and ids in a part (`events.parts`).
NAME, TITLE, SNIPPET = 200, 500, 2000
CUT = "\n[cut]"


class PartWriter(Protocol):
    """`events.streams.Streams`, as far as it is used here."""

    def chunk(self, stream: Stream, content: str, index: int | None, *, part: str | None = None) -> int: ...

    def delta(self, stream: Stream, part_id: str, content: str, index: int | None) -> int: ...

    def part(self, stream: Stream, part: Part, index: int | None) -> int: ...


class _Thought(Struct):
    part: Reasoning
    step: int
    metadata: dict[str, Any] | None = None
    words: dict[str, Any] | None = None
    is_stored: bool = True


class AnswerParts:
    """One answer. Text alone makes no parts. `size`: bytes that its stream may hold. `does` is told, of the
    stream, what the agent does while it writes nothing (`events.agentstatus`).

    What is not shown, and why, `unshown` counts for the log.
    """

    def __init__(
        self,
        writer: PartWriter,
        stream: Stream,
        size: int,
        before: Sequence[dict[str, Any]] = (),
        *,
        does: Callable[..., None] = lambda *_: None,
    ) -> None:
        """`before`: parts that it had when it began to wait."""
        self._writer, self._stream, self._does = writer, stream, does
        self._thought_room, self._snippet_room = int(size * THOUGHTS), int(size * SNIPPETS)
        self._texts, self._wrote, self._new_text = 1, False, False
        self._thoughts: dict[int, _Thought] = {}
        self._metadata = KeptMetadata()
        self._tools: dict[int, Tool] = {}
        self._sources = self._steps = 0
        self._is_told = False  # what it does, besides writing
        self.unshown: Counter[str] = Counter()
        self._take_up(before)

    def _take_up(self, parts: Sequence[dict[str, Any]]) -> None:
        kinds = Counter(part["type"] for part in parts)
        self._texts, self._sources, self._steps = max(1, kinds["text"]), kinds["source"], kinds["step"]
        self._wrote = kinds["text"] > 0
        for part in parts:
            if part["type"] == "tool":
                self._tools[number_of(part)] = msgspec.convert(part, Tool)

    def take(self, delta: Delta) -> bool:
        """Whether it is something that people see, or saw; else it is for somebody else."""
        if isinstance(delta, str):
            self._text(delta)
        elif isinstance(delta, ReasoningDelta):
            self._reasoning(delta)
        elif isinstance(delta, ToolInput):
            self._tool_input(delta)
        elif isinstance(delta, ToolReady):
            self._tool_ready(delta)
        elif isinstance(delta, ToolOutput):
            self._tool_output(delta)
        elif isinstance(delta, ToolAsked):
            self._tool_asked(delta)
        elif isinstance(delta, ToolDecided):
            self._tool_decided(delta)
        elif isinstance(delta, Citation):
            self._source(delta)
        elif isinstance(delta, NextStep):
            self._next_step(delta)
        elif isinstance(delta, NewText):
            self._new_text = self._wrote
        elif isinstance(delta, StartOver):
            self._start_over()
        else:
            return False
        return True

    def wait(self) -> None:
        """People are asked. How the thoughts that led there came, the model is told when it goes on."""
        for thought in self._thoughts.values():
            if thought.step == self._steps and thought.words:
                thought.metadata, thought.is_stored = merged(thought.metadata, thought.words), False
        self._end_thoughts()

    def end(self, why: str) -> None:
        """Nothing stays open. `why` is told of calls that nobody carried out."""
        self._end_thoughts()
        for number, tool in self._tools.items():
            if tool.state in ("input_streaming", "input_available", "approval_responded"):
                self._put_tool(number, state="output_error", error=why)

    def _tell(self, status: str | None, detail: str | None = None) -> None:
        self._is_told = status is not None
        self._does(self._stream, status, detail)

    # --- text

    def _text(self, text: str) -> None:
        if not text:
            self._writer.chunk(self._stream, "", None)  # a sign of life
            return
        self._end_thoughts()
        if self._is_told:
            self._tell(None)
        if self._new_text:
            self._texts += 1
        self._new_text, self._wrote = False, True
        part = None if self._texts == 1 else f"{TEXT}-{self._texts}"
        self._writer.chunk(self._stream, text, None, part=part)

    def _next_step(self, delta: NextStep) -> None:
        self._end_thoughts()
        self._steps += 1
        self._new_text = self._wrote
        self._tell("thinking")
        steered = list(delta.steered[:STEERED]) or UNSET
        self._put(Step(id=f"step-{self._steps}", steered=steered))

    # --- reasoning

    def _reasoning(self, delta: ReasoningDelta) -> None:
        given = delta.provider_metadata or {}
        metadata = {name: value for name, value in given.items() if name != WORDS}
        if not delta.content and not metadata:
            return
        thought = self._thoughts.get(delta.thought)
        if thought is None:
            self._end_thoughts()
            part = Reasoning(id=f"reasoning-{delta.thought + 1}", text="")
            thought = self._thoughts[delta.thought] = _Thought(part, self._steps)
            self._put(part)
        if WORDS in given:
            thought.words = {WORDS: given[WORDS]}
        if metadata:
            thought.metadata = self._metadata.merged(thought.metadata, metadata)
            thought.is_stored = False
        self._think(thought, delta.content)

    def _think(self, thought: _Thought, content: str) -> None:
        if not content:
            return
        size = len(content.encode())
        if self._thought_room <= 0:
            self.unshown["reasoning"] += 1
            return
        self._thought_room -= size
        if self._thought_room <= 0:
            content += CUT
        thought.part.text += content
        self._writer.delta(self._stream, thought.part.id, content, None)

    def _end_thoughts(self) -> None:
        """What goes back to the model is known at a thought's end."""
        for thought in self._thoughts.values():
            if thought.is_stored:
                continue
            thought.is_stored = True
            size = len(msgspec.json.encode(thought.metadata)) + len(thought.part.text)
            if size > self._thought_room:
                self.unshown["provider_metadata"] += 1
                continue
            self._thought_room -= size
            thought.part.provider_metadata = thought.metadata or UNSET
            self._put(thought.part)

    def _start_over(self) -> None:
        for thought in self._thoughts.values():
            if thought.step == self._steps and (thought.part.text or thought.metadata):
                thought.part = Reasoning(id=thought.part.id, text="")
                thought.metadata, thought.is_stored = None, True
                self._put(thought.part)

    # --- tools

    def _tool_input(self, delta: ToolInput) -> None:
        tool = self._tools.get(delta.call)
        if tool is None:
            self._end_thoughts()
            tool = self._tools[delta.call] = Tool(
                id=part_id(delta.call),
                tool_call_id=call_id(delta.call, delta.tool_call_id),
                name=(delta.name or "unknown")[:NAME],
                input_text="",
                state="input_streaming",
                executed_by="provider" if delta.by_provider else "agent",
            )
            if tool.tool_call_id != delta.tool_call_id:
                # LiteLLM writes signatures into ids.
                tool.provider_metadata = {CALL_ID: delta.tool_call_id}
            self._put(tool)
        if delta.provider_metadata:
            known = tool.provider_metadata or None
            tool.provider_metadata = self._metadata.merged(known, delta.provider_metadata) or UNSET
        if content := delta.content.replace("\0", ""):
            tool.input_text = (tool.input_text or "") + content
            self._writer.delta(self._stream, tool.id, content, None)

    def _tool_ready(self, delta: ToolReady) -> None:
        title = delta.title[:TITLE] if delta.title else UNSET
        changed: dict[str, Any] = {"state": "input_available", "input": delta.input, "input_text": UNSET}
        self._put_tool(delta.call, title=title, **changed)
        if (tool := self._tools.get(delta.call)) is not None:
            self._tell("calling_tool", (tool.title or tool.name)[:NAME])

    def _tool_asked(self, delta: ToolAsked) -> None:
        tool = self._tools.get(delta.call)
        metadata = dict((tool and tool.provider_metadata) or {})
        metadata.pop(SHOWN_TOOL, None)  # no model says what people were shown
        if delta.of_server is not None:
            metadata[SHOWN_TOOL] = delta.of_server
        self._put_tool(
            delta.call,
            title=delta.title[:TITLE] if delta.title else UNSET,
            state="input_available" if delta.by_page else "approval_requested",
            executed_by="client" if delta.by_page else "agent",
            input=delta.input,
            input_text=UNSET,
            provider_metadata=metadata or UNSET,
        )

    def _tool_decided(self, delta: ToolDecided) -> None:
        if delta.denied is None:
            self._put_tool(delta.call, state="approval_responded")
        else:
            self._put_tool(delta.call, state="output_denied", error=delta.denied)

    def _tool_output(self, delta: ToolOutput) -> None:
        changed: dict[str, Any] = {} if delta.input is None else {"input": delta.input, "input_text": UNSET}
        if delta.error is not None:
            self._put_tool(delta.call, state="output_error", error=delta.error, **changed)
        else:
            self._put_tool(delta.call, state="output_available", output=delta.output, **changed)

    def _put_tool(self, number: int, **changed: Any) -> None:
        tool = self._tools.get(number)
        if tool is None:
            self.unshown["tool without a call"] += 1
            return
        tool = self._tools[number] = msgspec.structs.replace(tool, **changed)
        self._put(tool)

    # --- sources

    def _source(self, delta: Citation) -> None:
        try:
            url = msgspec.convert(delta.url, Url)
        except msgspec.ValidationError:
            self.unshown["source without an address of the web"] += 1
            return
        if self._sources == MOST_SOURCES:
            self.unshown["source"] += 1
            return
        self._sources += 1
        snippet = (delta.snippet or "")[:SNIPPET]
        self._snippet_room -= len(snippet.encode())
        self._put(
            Source(
                id=f"source-{self._sources}",
                url=url,
                title=delta.title[:TITLE] if delta.title else UNSET,
                snippet=snippet if snippet and self._snippet_room > 0 else UNSET,
            )
        )

    def _put(self, part: Part) -> None:
        self._writer.part(self._stream, msgspec.structs.replace(part), None)

"""Reads a stream of the Responses API, of whichever server: data of its events in, typed deltas out.

Does no input or output and knows no server by name. docs/agents.md has the table of what servers send.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from events.agents.account import usage_of
from events.agents.api import Place
from events.agents.deltas import Delta, Finish, Model, NewText, ReasoningDelta, ToolInput, ToolOutput
from events.agents.faults import UpstreamFault, fault_of
from events.agents.reading import ENCRYPTED, REASONS, Sources, UnreadFields, clean, decoded, text_of
from events.agents.thinking import Thinking, ThinkSplitter
from events.agents.toolcalls import MOST_CALLS
from events.schema import FinishReason

NOTHING = Raw(b"null")

#: Characters of encrypted reasoning that are kept of one thought. It is stored with the answer, whose text
#: needs the room, too; a model goes on without.
MOST_ENCRYPTED = 64 * 1024

#: Bytes of what a tool of the upstream was asked, or brought, as JSON. What it found stands in the answer.
MOST_OUTPUT = 32 * 1024

#: Items of one response, and texts of one item: what is remembered of each costs more than its event.
MOST_ITEMS = 2000

#: Items that stand for no part of the answer.
_SILENT = frozenset(["mcp_list_tools", "compaction"])
#: Calls that wait for somebody who carries them out, of which there is nobody.
_NOBODYS = frozenset(["computer_call", "local_shell_call", "apply_patch_call", "mcp_approval_request"])
#: Fields of a call that the upstream carried out: what it was asked, and what it brought. A picture of
#: `image_generation_call.result` is larger than a part may be.
_ASKED = ("action", "queries", "arguments", "input", "code", "commands")
_BROUGHT = ("results", "outputs", "output")

_Kind = Literal["message", "reasoning", "call", "other"]


class _Response(Struct):
    id: Any = None
    model: Any = None
    status: Any = None
    error: Raw = NOTHING
    incomplete_details: Any = None
    usage: Raw = NOTHING
    output: Raw = NOTHING


class _Event(Struct):
    type: str = ""
    sequence_number: Any = None
    response: _Response | None = None
    item: Raw = NOTHING
    output_index: Any = None
    item_id: Any = None
    content_index: Any = None
    summary_index: Any = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    code: Any = None
    annotation: Any = None
    error: Raw = NOTHING
    object: Any = None


class _Item:
    """`number` counts the thoughts or the calls. `came`: the characters of each text that have come."""

    def __init__(self, kind: _Kind, number: int = 0, call_id: str = "", name: str = "") -> None:
        self.kind, self.number, self.call_id, self.name = kind, number, call_id, name
        self.by_provider = False
        self.came: dict[tuple[str, int], int] = {}
        self.channel = ""
        self.at = 0


class ResponseReader:
    """One answer. `finished`: the model has said that it is at its end, and why."""

    repeats = True

    def __init__(
        self, thinking: Thinking = "off", limit: int | None = None, *, background: bool = False
    ) -> None:
        """`limit`: the answer's tokens that were asked for, where there is such a bound. `background`: the
        upstream goes on with it when nobody reads it."""
        self.finished = False
        self._limit = limit
        self._background = background
        self._id = ""
        self._number: int | None = None
        self._over = False
        self._split = ThinkSplitter(thinking)
        self._sources, self._unread = Sources(), UnreadFields()
        self._items: dict[Any, _Item] = {}
        self._made = self._thoughts = self._calls = 0
        self._call_ids: set[str] = set()
        self._ours = 0
        self._speaking: _Item | None = None
        self._model = ""
        self._refused = False

    @property
    def done(self) -> bool:
        """Nothing more comes: some servers keep the connection open, and send no `[DONE]`."""
        return self.finished

    @property
    def place(self) -> Place | None:
        return (self._id, self._number) if self._background and self._id and not self._over else None

    def feed(self, data: bytes, event: bytes = b"") -> list[Delta]:
        """The data of one event, whose name is `event`; or a whole response in place of a stream.

        Raises UpstreamFault, or msgspec.DecodeError or ValueError for what is none."""
        if data.startswith(b"["):
            raise UpstreamFault(fault_of(None, data))
        told = decoded(data, _Event)
        if told.object == "response":
            return self._whole(decoded(data, _Response))
        name = told.type or event.decode("ascii", "replace")
        if name in ("error", "response.failed"):
            self._over = True
        if name == "error" or (not told.type and bytes(told.error) != b"null"):
            raise UpstreamFault(fault_of(None, data))
        if isinstance(told.sequence_number, int):
            self._number = told.sequence_number
        reading = _EVENTS.get(name)
        return reading(self, told) if reading is not None else []

    # --- the response

    def _begun(self, told: _Event) -> list[Delta]:
        return self._named(told.response) if told.response is not None else []

    def _named(self, response: _Response) -> list[Delta]:
        self._id = text_of(response.id) or self._id
        name = text_of(response.model)
        if not name or name == self._model:
            return []
        self._model = name
        return [Model(name)]

    def _whole(self, response: _Response) -> list[Delta]:
        """One that came as JSON."""
        if bytes(response.error) != b"null":
            raise UpstreamFault(fault_of(None, bytes(response.error)))
        return self._ended(response)

    def _failed(self, told: _Event) -> list[Delta]:
        error = bytes(told.response.error) if told.response is not None else b"null"
        raise UpstreamFault(fault_of(None, error if error != b"null" else b"the response failed"))

    def _end(self, told: _Event) -> list[Delta]:
        return self._ended(told.response or _Response(status=told.type.removeprefix("response.")))

    def _ended(self, response: _Response) -> list[Delta]:
        found = self._named(response) + self._output(response.output) + self._split.end()
        usage = usage_of(response.usage)
        if usage is not None:
            found.append(usage)
        self.finished = self._over = True
        reason = self._reason(response)
        if reason == "stop" and self._limit is not None and usage and usage.output_tokens == self._limit:
            reason = "length"  # llama.cpp calls an answer `completed` that its limit cut
        return [*found, Finish(reason)]

    def _reason(self, response: _Response) -> FinishReason:
        if response.status == "incomplete":
            details = response.incomplete_details
            said = text_of(details.get("reason")) if isinstance(details, dict) else ""
            return REASONS.get(said.lower(), "other")
        if response.status not in (None, "completed"):
            return "other"
        if self._refused:
            return "content_filter"
        return "tool_calls" if self._ours else "stop"

    def _output(self, output: Raw) -> list[Delta]:
        """What the end of a response repeats. Some stream nothing of it, and some leave out the calls."""
        found: list[Delta] = []
        items = _list_of(output)
        nothing = self._speaking is None and not self._calls and not self._thoughts
        for at, item in enumerate(items):
            call_id = text_of(item.get("call_id")) or text_of(item.get("id"))
            missed = item.get("type") == "function_call" and call_id not in self._call_ids
            if nothing or missed:
                found += self._complete(self._add(item, at, call_id), item)
            elif item.get("type") == "message":
                found += self._cited(item)
        return found

    # --- its items

    def _added(self, told: _Event) -> list[Delta]:
        item = _object_of(told.item)
        made = self._add(item, told.output_index, text_of(item.get("id")))
        if made.kind != "call":
            return []
        return [self._input(made, _argued(item))]

    def _done(self, told: _Event) -> list[Delta]:
        item = _object_of(told.item)
        known = self._find(told.output_index, text_of(item.get("id")), _kind_of(item))
        if known is None:
            known = self._add(item, told.output_index, text_of(item.get("id")))
        return self._complete(known, item)

    def _add(self, item: dict[str, Any], index: Any, item_id: str) -> _Item:
        if self._made == MOST_ITEMS:
            raise ValueError("more items than a response may have")
        self._made += 1
        kind = _kind_of(item)
        if kind == "reasoning":
            made = _Item(kind, self._thoughts)
            self._thoughts += 1
        elif kind == "call":
            made = self._call(item)
        else:
            made = _Item(kind)
            if kind == "other" and item.get("type") not in _SILENT:
                made.name = text_of(item.get("type"))
        for key in (index, item_id):
            if isinstance(key, int | str) and key != "":
                self._items[key] = made
        return made

    def _call(self, item: dict[str, Any]) -> _Item:
        if self._calls == MOST_CALLS:
            raise ValueError("more tool calls than an answer may have")
        number, kind = self._calls, text_of(item.get("type"))
        call_id = text_of(item.get("call_id")) or text_of(item.get("id")) or f"call_{number}"
        name = text_of(item.get("name")) or kind.removesuffix("_call")
        if text_of(item.get("server_label")):
            name = f"{item['server_label']}.{name}"
        made = _Item("call", number, call_id, name)
        # No request of ours has custom tools: one that is called is the upstream's own.
        made.by_provider = kind != "function_call"
        self._calls += 1
        self._call_ids.add(call_id)
        self._ours += not made.by_provider
        return made

    def _find(self, index: Any, item_id: Any, kind: _Kind) -> _Item | None:
        """By its id, or by its place where ids change from event to event; some give several one place."""
        for key in (item_id, index):
            known = self._items.get(key) if isinstance(key, int | str) else None
            if known is not None and known.kind == kind:
                return known
        return None

    def _of(self, told: _Event, kind: _Kind) -> _Item:
        """The item that a piece belongs to; some never say that it begins."""
        known = self._find(told.output_index, told.item_id, kind)
        if known is None:
            types = {"message": "message", "reasoning": "reasoning", "call": "function_call"}
            known = self._add({"type": types[kind]}, told.output_index, text_of(told.item_id))
        return known

    def _complete(self, known: _Item, item: dict[str, Any]) -> list[Delta]:
        if known.kind == "message":
            return self._said(known, item)
        if known.kind == "reasoning":
            return self._thought(known, item)
        if known.kind == "call":
            found: list[Delta] = []
            rest = self._rest(known, "input", 0, _argued(item))
            if rest or not known.came.get(("told", 0)):
                found.append(self._input(known, rest))
            return found + self._carried_out(known, item)
        return self._unread.feed(known.name) if known.name else []

    def _said(self, known: _Item, item: dict[str, Any]) -> list[Delta]:
        found: list[Delta] = []
        for at, part in enumerate(_parts_of(item.get("content"))):
            found += self._text(known, at, self._rest(known, "text", at, text_of(part.get("text"))))
            found += self._refusal(known, at, self._rest(known, "refusal", at, text_of(part.get("refusal"))))
        return found + self._cited(item)

    def _cited(self, item: dict[str, Any]) -> list[Delta]:
        found: list[Delta] = []
        for part in _parts_of(item.get("content")):
            found += self._sources.feed(part.get("annotations"))
        return found

    def _thought(self, known: _Item, item: dict[str, Any]) -> list[Delta]:
        found: list[Delta] = []
        for channel, field in (("summary", "summary"), ("text", "content")):
            for at, part in enumerate(_parts_of(item.get(field))):
                found += self._think(
                    known, channel, at, self._rest(known, channel, at, text_of(part.get("text")))
                )
        encrypted = text_of(item.get("encrypted_content"))
        if not encrypted:
            return found
        if len(encrypted) > MOST_ENCRYPTED:
            return found + self._unread.feed("reasoning.encrypted_content")
        back = {"id": text_of(item.get("id")), "encrypted_content": encrypted}
        return [*found, ReasoningDelta("", {ENCRYPTED: back}, known.number)]

    def _carried_out(self, known: _Item, item: dict[str, Any]) -> list[Delta]:
        if not known.by_provider:
            return []
        asked = next((_value_of(item[name]) for name in _ASKED if item.get(name)), None)
        brought = next((item[name] for name in _BROUGHT if item.get(name)), None)
        if isinstance(asked, dict) and isinstance(asked.get("sources"), list):
            brought = brought or {"sources": asked["sources"]}
            asked = {name: value for name, value in asked.items() if name != "sources"}
        failed = item.get("error") or (item.get("status") if item.get("status") == "failed" else None)
        return [ToolOutput(known.number, _bounded(asked), _bounded(_value_of(brought)), _words_of(failed))]

    # --- their pieces

    def _text_delta(self, told: _Event) -> list[Delta]:
        at, words = _place(told.content_index), text_of(told.delta)
        return self._text(self._of(told, "message"), at, words)

    def _text_done(self, told: _Event) -> list[Delta]:
        known, at = self._of(told, "message"), _place(told.content_index)
        return self._text(known, at, self._rest(known, "text", at, text_of(told.text)))

    def _text(self, known: _Item, at: int, words: str) -> list[Delta]:
        if not words:
            return []
        _count(known, "text", at, words)
        return self._spoken(known, self._split.feed(clean(words)))

    def _spoken(self, known: _Item, words: list[Delta]) -> list[Delta]:
        before, self._speaking = self._speaking, known
        return [NewText(), *words] if before is not None and before is not known else words

    def _refusal_delta(self, told: _Event) -> list[Delta]:
        at, words = _place(told.content_index), text_of(told.delta)
        return self._refusal(self._of(told, "message"), at, words)

    def _refusal_done(self, told: _Event) -> list[Delta]:
        known, at = self._of(told, "message"), _place(told.content_index)
        return self._refusal(known, at, self._rest(known, "refusal", at, text_of(told.refusal)))

    def _refusal(self, known: _Item, at: int, words: str) -> list[Delta]:
        """The model's own words for why it does not answer: people read them as they read an answer."""
        if not words:
            return []
        self._refused = True
        _count(known, "refusal", at, words)
        return self._spoken(known, [clean(words)])

    def _summary_delta(self, told: _Event) -> list[Delta]:
        return self._think(
            self._of(told, "reasoning"), "summary", _place(told.summary_index), text_of(told.delta)
        )

    def _summary_done(self, told: _Event) -> list[Delta]:
        known, at = self._of(told, "reasoning"), _place(told.summary_index)
        return self._think(known, "summary", at, self._rest(known, "summary", at, text_of(told.text)))

    def _reasoning_delta(self, told: _Event) -> list[Delta]:
        return self._think(
            self._of(told, "reasoning"), "text", _place(told.content_index), text_of(told.delta)
        )

    def _reasoning_done(self, told: _Event) -> list[Delta]:
        known, at = self._of(told, "reasoning"), _place(told.content_index)
        return self._think(known, "text", at, self._rest(known, "text", at, text_of(told.text)))

    def _think(self, known: _Item, channel: str, at: int, words: str) -> list[Delta]:
        """Of a thought's own words and their summary that is shown which comes first."""
        if not words or known.channel not in ("", channel):
            return []
        apart = "\n\n" if known.channel and known.at != at else ""
        known.channel, known.at = channel, at
        _count(known, channel, at, words)
        return [ReasoningDelta(apart + clean(words), None, known.number)]

    def _argument_delta(self, told: _Event) -> list[Delta]:
        return [self._input(self._of(told, "call"), text_of(told.delta))]

    def _argument_done(self, told: _Event) -> list[Delta]:
        known = self._of(told, "call")
        whole = text_of(told.arguments) or text_of(told.input) or text_of(told.code)
        rest = self._rest(known, "input", 0, whole)
        return [self._input(known, rest)] if rest else []

    def _input(self, known: _Item, words: str) -> Delta:
        _count(known, "input", 0, words)
        known.came["told", 0] = 1
        return ToolInput(known.number, known.call_id, known.name, clean(words), by_provider=known.by_provider)

    def _annotated(self, told: _Event) -> list[Delta]:
        return self._sources.feed([told.annotation])

    def _rest(self, known: _Item, channel: str, at: int, whole: str) -> str:
        """What has not come in pieces of a text that is told whole at its end."""
        return whole[known.came.get((channel, at), 0) :]


_Reading = Callable[[ResponseReader, _Event], list[Delta]]

_EVENTS: dict[str, _Reading] = {
    "response.created": ResponseReader._begun,
    "response.queued": ResponseReader._begun,
    "response.in_progress": ResponseReader._begun,
    "response.completed": ResponseReader._end,
    "response.incomplete": ResponseReader._end,
    "response.failed": ResponseReader._failed,
    "response.output_item.added": ResponseReader._added,
    "response.output_item.done": ResponseReader._done,
    "response.output_text.delta": ResponseReader._text_delta,
    "response.output_text.done": ResponseReader._text_done,
    "response.output_text.annotation.added": ResponseReader._annotated,
    "response.refusal.delta": ResponseReader._refusal_delta,
    "response.refusal.done": ResponseReader._refusal_done,
    "response.reasoning_summary_text.delta": ResponseReader._summary_delta,
    "response.reasoning_summary_text.done": ResponseReader._summary_done,
    "response.reasoning_text.delta": ResponseReader._reasoning_delta,
    "response.reasoning_text.done": ResponseReader._reasoning_done,
    "response.function_call_arguments.delta": ResponseReader._argument_delta,
    "response.function_call_arguments.done": ResponseReader._argument_done,
    "response.mcp_call_arguments.delta": ResponseReader._argument_delta,
    "response.mcp_call_arguments.done": ResponseReader._argument_done,
    "response.custom_tool_call_input.delta": ResponseReader._argument_delta,
    "response.custom_tool_call_input.done": ResponseReader._argument_done,
    "response.code_interpreter_call_code.delta": ResponseReader._argument_delta,
    "response.code_interpreter_call_code.done": ResponseReader._argument_done,
}


def _kind_of(item: dict[str, Any]) -> _Kind:
    kind = text_of(item.get("type"))
    if kind in ("message", "reasoning"):
        return kind  # type: ignore[return-value]
    return "call" if kind.endswith("_call") and kind not in _NOBODYS else "other"


def _argued(item: dict[str, Any]) -> str:
    """A call's input, where that is text."""
    return next((item[name] for name in ("arguments", "input", "code") if text_of(item.get(name))), "")


def _count(known: _Item, channel: str, at: int, words: str) -> None:
    came = known.came.get((channel, at))
    if came is None and len(known.came) > MOST_ITEMS:
        raise ValueError("more texts than an item may have")
    known.came[channel, at] = (came or 0) + len(words)


def _place(index: Any) -> int:
    return index if isinstance(index, int) else 0


def _object_of(raw: Raw) -> dict[str, Any]:
    value = msgspec.json.decode(raw)
    return value if isinstance(value, dict) else {}


def _list_of(raw: Raw) -> list[dict[str, Any]]:
    return _parts_of(msgspec.json.decode(raw))


def _parts_of(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _value_of(value: Any) -> Any:
    """JSON that stands in a text, as the value that it is."""
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return clean(value)
    return value


def _bounded(value: Any) -> Any:
    """What can be stored of it: without NUL, and cut where it is too large."""
    written = msgspec.json.encode(value)
    if len(written) > MOST_OUTPUT:
        return written[:MOST_OUTPUT].decode("utf-8", "ignore") + "…"
    return _cleaned(value) if b"\\u0000" in written else value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {clean(name): _cleaned(each) for name, each in value.items()}
    return value


def _words_of(failed: Any) -> str | None:
    if not failed:
        return None
    if isinstance(failed, dict):
        failed = text_of(failed.get("message")) or "failed"
    return clean(text_of(failed) or "failed")[:1000]

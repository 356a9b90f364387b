"""What a message is made of: its parts, as the wire has them, and how a stream's pieces add up to them.

A part is a struct where a caller gives it, and a dict from then on, as it is stored (`provider_metadata`
within). Knows no stream that is open. Contract, section 3; docs/adr/0015.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from events.errors import ValidationFailed
from storage.pieces import OWN, WHOLE, Run, is_whole

Stored = dict[str, Any]

#: The id of the text part that nobody named.
TEXT = "text"
#: Parts of one message.
MOST = 1000
#: Bytes of a data part's JSON.
DATA_BYTES = 64 * 1024
#: Questions that one step takes up.
STEERED = 100
#: Between the texts of text parts, in a message's `content`.
BETWEEN = "\n\n"

PartId = Annotated[str, Meta(min_length=1, max_length=100)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Title = Annotated[str, Meta(max_length=500)]
#: `http` and `https` alone: pages make links of them.
Url = Annotated[str, Meta(max_length=8192, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s]+\Z")]
MediaType = Annotated[str, Meta(min_length=1, max_length=255)]
ToolState = Literal[
    "input_streaming",
    "input_available",
    "approval_requested",
    "approval_responded",
    "output_available",
    "output_error",
    "output_denied",
]


class _Part(Struct, kw_only=True, tag_field="type"):
    """`id` is unique in its message; without one it is given one."""

    id: Annotated[str, Meta(max_length=100)] = ""


class Text(_Part, kw_only=True, tag="text"):
    """What people read."""

    text: str


class Reasoning(_Part, kw_only=True, tag="reasoning"):
    """What a model thought. `provider_metadata` is opaque, and goes back to the model alone."""

    text: str
    provider_metadata: dict[str, Any] | UnsetType = UNSET


class Tool(_Part, kw_only=True, tag="tool"):
    """A call of a tool. `input_text` is its input while that is written."""

    tool_call_id: _Name
    name: _Name
    title: _Title | UnsetType = UNSET
    input_text: str | UnsetType = UNSET
    input: Any = UNSET
    output: Any = UNSET
    error: str | dict[str, Any] | UnsetType = UNSET
    state: ToolState
    executed_by: Literal["provider", "agent", "client"] = "agent"
    provider_metadata: dict[str, Any] | UnsetType = UNSET


class Source(_Part, kw_only=True, tag="source"):
    """What an answer refers to: a `url`, or a file of the session."""

    url: Url | UnsetType = UNSET
    file_id: PartId | UnsetType = UNSET
    title: _Title | UnsetType = UNSET
    media_type: MediaType | UnsetType = UNSET
    snippet: Annotated[str, Meta(max_length=10_000)] | UnsetType = UNSET


class FilePart(_Part, kw_only=True, tag="file"):
    """A file of the session, or one that lies elsewhere."""

    file_id: PartId | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    media_type: MediaType | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET


class Data(_Part, kw_only=True, tag="data"):
    """An application's own. `transient`: it is shown, and not kept."""

    name: _Name
    data: Any
    transient: bool | UnsetType = UNSET


class Step(_Part, kw_only=True, tag="step"):
    """A new call of the model begins. `steered`: the questions that the answer took up with it."""

    steered: Annotated[list[PartId], Meta(min_length=1, max_length=STEERED)] | UnsetType = UNSET


Part = Text | Reasoning | Tool | Source | FilePart | Data | Step
#: Parts that people give with a message.
GivenPart = Text | FilePart | Data

_decode = msgspec.json.Decoder(Stored).decode
_to_json = msgspec.json.encode


def check(part: Part, field: str = "part") -> None:
    """What a struct cannot say. Raises ValidationFailed."""
    if part.id == TEXT and not isinstance(part, Text):
        raise ValidationFailed(f"{TEXT} is the message's own text", field=f"{field}.id")
    if isinstance(part, Source | FilePart) and part.url is UNSET and part.file_id is UNSET:
        raise ValidationFailed("url or file_id is needed", field=field)
    if isinstance(part, Data) and len(_to_json(part.data)) > DATA_BYTES:
        raise ValidationFailed(f"at most {DATA_BYTES} bytes", field=f"{field}.data")


# --- labels of pieces (`storage.pieces`)

_TEXT, _PUT_IN, _DELTA = ".", "+", "~"
_PRODUCERS, _SERVERS = f"{WHOLE}p", f"{WHOLE}s"


def text_label(part_id: str) -> str:
    """Text of a text part."""
    return OWN if part_id == TEXT else _TEXT + part_id


def put_in_label(part_id: str) -> str:
    """Text of a text part for those who know no parts: the whole part follows, and has it, too."""
    return _PUT_IN + part_id


def delta_label(part_id: str) -> str:
    """Text of a part that is not text."""
    return _DELTA + part_id


def whole_label(part_id: str, *, of_server: bool = False) -> str:
    return (_SERVERS if of_server else _PRODUCERS) + part_id


def part_of(label: str) -> str:
    """The part that a piece belongs to."""
    if label == OWN:
        return TEXT
    return label[2:] if is_whole(label) else label[1:]


def is_text(label: str) -> bool:
    """Whether a piece is of `content`."""
    return label == OWN or label[0] in (_TEXT, _PUT_IN)


def is_put_in(label: str) -> bool:
    return label.startswith(_PUT_IN)


def event_name(label: str) -> str:
    """What tells of a piece."""
    if is_whole(label):
        return "stream_part"
    return "stream_chunk" if is_text(label) else "stream_delta"


def is_of_server(label: str) -> bool:
    """Whether the server put the piece in: its producer does not count it."""
    return label.startswith((_PUT_IN, _SERVERS))


# --- what pieces add up to


class Fold:
    """The parts of a stream whose pieces are taken in from its beginning on, in the order in which they were
    first seen. Clients do the same; here also a text that was put in is right before its whole part follows.

    A part that was handed out is never changed: texts that grow are joined when they are asked for.
    """

    __slots__ = ("_grown", "_parts")

    def __init__(self) -> None:
        self._parts: dict[str, Stored] = {}
        self._grown: dict[str, list[str]] = {}

    def take(self, run: Run) -> None:
        kind, text = run.part[:1], run.text
        if kind == WHOLE:
            whole = _decode(text)
            if not whole.get("transient"):
                self._put(part_of(run.part), whole)
            return
        part_id = run.part[1:] or TEXT
        if kind != _DELTA and self.type_of(part_id) != "text":
            if kind == _PUT_IN and self.last_text is not None:
                text = text.removeprefix(BETWEEN)
            self._put(part_id, {"type": "text", "id": part_id, "text": ""})
        grown = self._grown.get(part_id)
        if grown is None:
            self._grown[part_id] = [text]
        else:
            grown.append(text)

    def _put(self, part_id: str, whole: Stored) -> None:
        self._parts[part_id] = whole
        self._grown.pop(part_id, None)

    @property
    def last_text(self) -> str | None:
        """The text part that text is added to."""
        return next((id for id, part in reversed(self._parts.items()) if part["type"] == "text"), None)

    def type_of(self, part_id: str) -> str | None:
        part = self._parts.get(part_id)
        return None if part is None else part["type"]

    def text_of(self, part_id: str) -> str:
        """Of a text part."""
        self._join(part_id)
        text: str = self._parts[part_id]["text"]
        return text

    def _join(self, part_id: str) -> None:
        grown = self._grown.pop(part_id, None)
        if grown is not None:
            part = self._parts[part_id]
            field = "input_text" if part["type"] == "tool" else "text"
            self._parts[part_id] = {**part, field: part.get(field, "") + "".join(grown)}

    def __len__(self) -> int:
        return len(self._parts)

    def is_behind(self, part_id: str, other: str) -> bool:
        """Of two parts that are there."""
        order = list(self._parts)
        return order.index(part_id) > order.index(other)

    @property
    def parts(self) -> list[Stored]:
        for part_id in list(self._grown):
            self._join(part_id)
        return list(self._parts.values())


def fold(runs: Iterable[Run]) -> list[Stored]:
    """The parts of a stream that was read from its beginning on."""
    folded = Fold()
    for run in runs:
        folded.take(run)
    return folded.parts


def told_text(runs: Iterable[Run]) -> str:
    """What a client adds up that knows `stream_chunk` alone."""
    return "".join([run.text for run in runs if is_text(run.part)])


class Made(NamedTuple):
    """What a message is made of: its `parts` are None where its only part is its own text."""

    content: str
    parts: list[Stored] | None = None

    @property
    def weight(self) -> int:
        """At most the characters of all pieces that make it."""
        growing = ("text", "input_text")
        grown = sum(len(p.get(f, "")) for p in self.parts or () if p["type"] != "text" for f in growing)
        return len(self.content) + grown


NOTHING = Made("")


def made_of(text: str, runs: Sequence[Run]) -> Made:
    """Of a stream that was read from its beginning on, as storage tells it: its own text, and the runs of all
    parts where there are others."""
    if not runs:
        return Made(text)
    parts = fold(runs)
    return Made(content_of(parts), kept(parts))


def content_of(parts: Sequence[Stored]) -> str:
    """A message's `content`."""
    return BETWEEN.join(part.get("text", "") for part in parts if part["type"] == "text")


def kept(parts: Sequence[Stored]) -> list[Stored] | None:
    """What is stored of a message's parts beside its `content`: None where that says all, because the only
    part is its own text. One by another name was told by its name."""
    if not parts or (len(parts) == 1 and parts[0]["id"] == TEXT and parts[0]["text"]):
        return None
    return list(parts)


def shown(parts: Sequence[Stored]) -> list[Stored]:
    """As readers see them."""
    return [without_secrets(part) for part in parts]


def without_secrets(part: Stored) -> Stored:
    if "provider_metadata" not in part:
        return part
    return {name: value for name, value in part.items() if name != "provider_metadata"}


def shown_json(stored: str) -> bytes:
    """The same of one part as JSON, as a piece has it."""
    if "provider_metadata" not in stored:
        return stored.encode()
    return _to_json(without_secrets(_decode(stored)))

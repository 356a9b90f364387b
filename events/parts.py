"""What a message is made of: its parts, as the wire has them, and how a stream's pieces add up to them.

A part is a struct where a caller gives it, and a dict from then on, as it is stored (`provider_metadata`
within). Knows no stream that is open. Contract, section 3; docs/adr/0015.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from storage.pieces import OWN, WHOLE, Run, is_whole

Stored = dict[str, Any]

#: The id of the text part that nobody named.
TEXT = "text"
#: Parts of one message.
MOST = 1000
#: Bytes of a data part's JSON.
DATA_BYTES = 64 * 1024
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
    """A new call of the model begins."""


Part = Text | Reasoning | Tool | Source | FilePart | Data | Step
#: Parts that people give with a message.
GivenPart = Text | FilePart | Data

_decode = msgspec.json.Decoder(Stored).decode


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


def is_of_server(label: str) -> bool:
    """Whether the server put the piece in: its producer does not count it."""
    return label.startswith((_PUT_IN, _SERVERS))


# --- what pieces add up to


def fold(runs: Iterable[Run]) -> list[Stored]:
    """The parts of a stream that was read from its beginning on, in the order in which they were first seen.
    Clients do the same."""
    parts: dict[str, Stored] = {}
    for run in runs:
        part_id = part_of(run.part)
        if is_whole(run.part):
            whole = _decode(run.text)
            if not whole.get("transient"):
                parts[part_id] = whole
        elif is_text(run.part):
            _grow(parts.setdefault(part_id, {"type": "text", "id": part_id}), "text", run.text)
        else:
            part = parts[part_id]
            _grow(part, "input_text" if part["type"] == "tool" else "text", run.text)
    return list(parts.values())


def _grow(part: Stored, field: str, text: str) -> None:
    part[field] = part.get(field, "") + text


def content_of(parts: Sequence[Stored]) -> str:
    """A message's `content`."""
    return BETWEEN.join(part.get("text", "") for part in parts if part["type"] == "text")


def kept(parts: Sequence[Stored]) -> list[Stored] | None:
    """What is stored of a message's parts beside its `content`: None where its only part is text."""
    if all(part["type"] == "text" for part in parts) and len(parts) < 2:
        return None
    return list(parts)


def shown(parts: Sequence[Stored]) -> list[Stored]:
    """As readers see them."""
    return [without_secrets(part) for part in parts]


def without_secrets(part: Stored) -> Stored:
    if "provider_metadata" not in part:
        return part
    return {name: value for name, value in part.items() if name != "provider_metadata"}

"""More of a text that is being told, as one response's own bytes: a piece costs far less than all that a
response passes on its way. Knows no dialect and no door."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from starlette.types import Message

from events.event import Event
from server.transports.codecs import AnswerCodec, data_line, one_line

#: Stands for a text in a frame that shows how all of them look. No id and no name has it.
MARK = "\0"
_MARKED = b'"\\u0000"'
_CONTENT, _BEHIND = b'"content":', b',"index":'

_text = msgspec.json.Decoder(str).decode


class Growing(Protocol):
    """Pieces with this label, or any where it is None, are a frame each, and nothing else."""

    label: str | None

    def frame(self, event: Event) -> bytes:
        """Of a chunk event; it is told from then on."""
        ...


class GrowingText:
    """Frames that are alike but for their text."""

    __slots__ = ("_add", "_head", "_tail", "label")

    def __init__(self, label: str, marked: bytes, add: Callable[[str], None]) -> None:
        """`marked`: the frame of the text `MARK`. `add` is told of each text."""
        self.label: str | None = label
        self._head, _, self._tail = marked.partition(_MARKED)
        self._add = add

    def frame(self, event: Event) -> bytes:
        data = event.data
        # A quote within a JSON string is escaped, so that this is the field, as `events.event` writes it: the
        # text, and `index` right behind it.
        text = data[data.index(_CONTENT) + len(_CONTENT) : data.rindex(_BEHIND)]
        self._add(_text(text))
        return b"%b%b%b" % (self._head, one_line(text), self._tail)


def growing_events(found: tuple[str, Callable[[str], None], Any] | None) -> GrowingText | None:
    """Of server-sent events: their label, who is told of each text, and the event of the text `MARK`."""
    if found is None:
        return None
    label, add, marked = found
    return GrowingText(label, data_line(marked), add)


class GrowingLines:
    """A response of lines as they are."""

    __slots__ = ("frame", "label")

    def __init__(self, codec: AnswerCodec) -> None:
        self.label: str | None = None
        self.frame = codec.line_of

    def grows(self) -> Growing:
        return self


class Telling(ABC):
    """The `send` of a response whose body is lines; its client gets something else."""

    @abstractmethod
    async def __call__(self, message: Message) -> None: ...

    @abstractmethod
    def grows(self) -> Growing | None:
        """How the text goes on that was told of last, as long as nothing else is told."""

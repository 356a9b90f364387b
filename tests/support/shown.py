"""What two kinds of client show of a stream: one that knows `stream_chunk` alone, and one that knows parts.

Each finds fault with what comes twice, or not at all. They share no code with the server.
"""

from collections.abc import Iterable
from typing import Any

Part = dict[str, Any]


class Counted:
    """A reader that keeps count of what it was told."""

    def __init__(self, next_index: int = 0) -> None:
        self.next_index = next_index
        self.ended: dict[str, Any] | None = None

    def take(self, name: str, told: dict[str, Any]) -> None:
        if name == "stream_end":
            assert self.ended is None, "one end"
            self.ended = told
            self.end(told)
        elif name in ("stream_chunk", "stream_delta", "stream_part"):
            assert self.ended is None, "nothing after the end"
            assert told["index"] == self.next_index, "each piece once, in order"
            self.next_index += told.get("count", 1)
            self.piece(name, told)

    def take_all(self, events: Iterable[Any]) -> None:
        for event in events:
            self.take(event.name, event.data)

    def piece(self, name: str, told: dict[str, Any]) -> None:
        raise NotImplementedError

    def end(self, told: dict[str, Any]) -> None:
        raise NotImplementedError


class OfChunks(Counted):
    """Knows `stream_chunk` and `content`."""

    def __init__(self, content: str = "", next_index: int = 0) -> None:
        super().__init__(next_index)
        self.content = content

    def piece(self, name: str, told: dict[str, Any]) -> None:
        if name == "stream_chunk":
            self.content += told["content"]

    def end(self, told: dict[str, Any]) -> None:
        self.content = told.get("content", self.content)


class OfParts(Counted):
    """Knows parts."""

    def __init__(self, parts: Iterable[Part] = (), next_index: int = 0) -> None:
        super().__init__(next_index)
        self._parts = {part["id"]: dict(part) for part in parts}

    def piece(self, name: str, told: dict[str, Any]) -> None:
        if name == "stream_part":
            part = told["part"]
            if not part.get("transient"):
                self._parts[part["id"]] = dict(part)
            return
        part_id = told.get("part", "text")
        if name == "stream_chunk":
            part = self._parts.setdefault(part_id, {"type": "text", "id": part_id, "text": ""})
        else:
            part = self._parts[part_id]
        field = "input_text" if part["type"] == "tool" else "text"
        part[field] = part.get(field, "") + told["content"]

    def end(self, told: dict[str, Any]) -> None:
        if "content" in told:
            self._parts = {part["id"]: part for part in parts_of(told)}

    def __contains__(self, part_id: str) -> bool:
        return part_id in self._parts

    @property
    def parts(self) -> list[Part]:
        return list(self._parts.values())


class Shown:
    """One reader of each kind of the same connection."""

    def __init__(self, snapshot: dict[str, Any] | None = None) -> None:
        """`snapshot`: a line of `streams` in the reply to `join`."""
        next_index = snapshot["next_index"] if snapshot else 0
        self.chunks = OfChunks(snapshot["content"] if snapshot else "", next_index)
        self.parts = OfParts(parts_of(snapshot) if snapshot else (), next_index)

    def take(self, name: str, told: dict[str, Any]) -> None:
        self.chunks.take(name, told)
        self.parts.take(name, told)

    def take_all(self, events: Iterable[Any], message_id: str) -> "Shown":
        for event in events:
            if event.data.get("message_id") == message_id:
                self.take(event.name, event.data)
        return self

    @property
    def as_message(self) -> tuple[str, list[Part]]:
        return self.chunks.content, self.parts.parts


def parts_of(message: dict[str, Any]) -> list[Part]:
    """A message whose only part is its own text says nothing of parts."""
    if "parts" in message:
        parts: list[Part] = message["parts"]
        return parts
    return [{"type": "text", "id": "text", "text": message["content"]}] if message["content"] else []


def as_stored(message: dict[str, Any]) -> tuple[str, list[Part]]:
    return message["content"], parts_of(message)

"""Reasoning that stands in the text between tags: `<think>…</think>`, in whatever pieces it comes."""

from typing import Literal

from events.agents.deltas import Delta, ReasoningDelta

#: `tags`: the answer may begin with `<think>`. `open`: a template wrote the tag before the answer, which
#: begins with reasoning. `off`: text is text.
Thinking = Literal["off", "tags", "open"]

#: Blank letters before the first tag: what begins with more begins with text.
BLANK = 1000

_BEGIN, _END = "<think>", "</think>"

#: `before` the first tag, right behind it (`opened`), `within`, right behind the last (`closed`), `text`.
_State = Literal["before", "opened", "within", "closed", "text"]
_FIRST: dict[Thinking, _State] = {"off": "text", "tags": "before", "open": "opened"}


class ThinkSplitter:
    """Splits text at the tags. Only a tag at the beginning opens: text about tags stays text."""

    def __init__(self, thinking: Thinking) -> None:
        self._held = ""
        self._state = _FIRST[thinking]

    def feed(self, content: str) -> list[Delta]:
        if self._state == "text":
            return [content] if content else []
        self._held += content
        found: list[Delta] = []
        if self._state == "before":
            held = self._held.lstrip()
            if held.startswith(_BEGIN):
                self._state, self._held = "opened", held[len(_BEGIN) :]
            elif not _BEGIN.startswith(held) or len(self._held) > BLANK:
                self._state = "text"
                return [self._take(len(self._held))]
        if self._state == "opened":
            self._state = "within" if self._past_newlines() else "opened"
        if self._state == "within":
            found += self._thought()
        if self._state == "closed" and self._past_newlines():
            self._state = "text"
            found.append(self._take(len(self._held)))
        return found

    def _past_newlines(self) -> bool:
        """They belong to the tag before them. Whether something follows."""
        self._held = self._held.lstrip("\n")
        return bool(self._held)

    def _thought(self) -> list[Delta]:
        end = self._held.find(_END)
        thought = self._take(end if end >= 0 else len(self._held) - _begun(self._held, _END))
        if end >= 0:
            self._state, self._held = "closed", self._held[len(_END) :]
        return [ReasoningDelta(thought)] if thought else []

    def end(self) -> list[Delta]:
        """What was held back, as more might have come."""
        rest = self._take(len(self._held))
        if not rest:
            return []
        return [ReasoningDelta(rest)] if self._state == "within" else [rest]

    def _take(self, size: int) -> str:
        taken, self._held = self._held[:size], self._held[size:]
        return taken


def _begun(text: str, tag: str) -> int:
    """Characters at the end of `text` that may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)

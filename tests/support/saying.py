"""Random streams of parts: what a producer says, and what a message then consists of by the rules as they are
told to producers. Shares no code with the server."""

import random
from collections.abc import Sequence
from typing import Any

from tests.support.shown import Part

#: Command and payload of one piece.
Said = tuple[str, dict[str, Any]]

SECRET = {"signature": "c2VjcmV0"}


class Message:
    """What it consists of after so many pieces."""

    def __init__(self, said: Sequence[Said] = ()) -> None:
        self._parts: dict[str, Part] = {}
        for command, payload in said:
            self.say(command, payload)

    def say(self, command: str, payload: dict[str, Any]) -> None:
        if command == "stream_part":
            if not payload["part"].get("transient"):
                self._parts[payload["part"]["id"]] = dict(payload["part"])
            return
        if command == "stream_chunk":
            part_id = payload.get("part") or self.last_text or "text"
            part = self._parts.setdefault(part_id, {"type": "text", "id": part_id, "text": ""})
        else:
            part = self._parts[payload["part"]]
        field = "input_text" if part["type"] == "tool" else "text"
        part[field] = part.get(field, "") + payload["content"]

    @property
    def last_text(self) -> str | None:
        return next((id for id, part in reversed(self._parts.items()) if part["type"] == "text"), None)

    def of_type(self, *types: str) -> list[str]:
        return [id for id, part in self._parts.items() if part["type"] in types]

    def part(self, part_id: str) -> Part:
        return dict(self._parts[part_id])

    @property
    def as_message(self) -> tuple[str, list[Part]]:
        """Content, and parts as readers see them."""
        parts = [
            {name: value for name, value in part.items() if name != "provider_metadata"}
            for part in self._parts.values()
        ]
        return "\n\n".join(part["text"] for part in parts if part["type"] == "text"), parts


class _Writer:
    def __init__(self, rng: random.Random, name: str) -> None:
        self.rng, self.name = rng, name
        self.message, self.said = Message(), list[Said]()

    def say(self, command: str, **payload: Any) -> None:
        self.message.say(command, payload)
        self.said.append((command, payload))

    def words(self) -> str:
        return f"{self.name}.{len(self.said)}{self.rng.choice((' ', ' ', 'ä☃ ', ''))}"

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{len(self.said)}"

    # --- what may be said

    def text(self) -> None:
        self.say("stream_chunk", content=self.words())

    def new_text(self) -> None:
        self.say("stream_chunk", content=self.words(), part=self.new_id("b"))

    def reasoning(self) -> None:
        known = self.message.of_type("reasoning")
        if not known or self.rng.random() < 0.3:
            part = {"type": "reasoning", "id": self.new_id("r"), "text": self.rng.choice(("", "hm "))}
            if self.rng.random() < 0.5:
                part |= {"provider_metadata": SECRET}
            self.say("stream_part", part=part)
        else:
            self.say("stream_delta", part=self.rng.choice(known), content=self.words())

    def tool(self) -> None:
        known = self.message.of_type("tool")
        roll = self.rng.random()
        if not known or roll < 0.3:
            id = self.new_id("t")
            part = {
                "type": "tool",
                "id": id,
                "tool_call_id": f"call_{id}",
                "name": "n",
                "executed_by": "agent",
            }
            self.say("stream_part", part=part | {"state": "input_streaming"})
        elif roll < 0.8:
            self.say("stream_delta", part=self.rng.choice(known), content=self.words())
        else:
            done = {"state": "output_available", "output": [self.words(), None]}
            self.say("stream_part", part=self.message.part(self.rng.choice(known)) | done)

    def whole_text(self) -> None:
        """A new one, one that goes on, or one that takes something back."""
        last, roll = self.message.last_text, self.rng.random()
        if last is None or roll < 0.4:
            part = {"type": "text", "id": self.new_id("w"), "text": self.rng.choice(("", self.words()))}
        elif roll < 0.8:
            part = self.message.part(last)
            part["text"] += self.words()
        else:
            part = self.message.part(self.rng.choice(self.message.of_type("text"))) | {"text": self.words()}
        self.say("stream_part", part=part)

    def other(self) -> None:
        id = self.new_id("o")
        part: Part = self.rng.choice(
            (
                {"type": "step", "id": id},
                {"type": "source", "id": id, "url": f"https://example.org/{id}"},
                {"type": "file", "id": id, "url": f"https://example.org/{id}.png", "media_type": "image/png"},
                {"type": "data", "id": "d", "name": "chart", "data": {"at": len(self.said)}},
                {
                    "type": "data",
                    "id": "d",
                    "name": "chart",
                    "data": {"at": len(self.said)},
                    "transient": True,
                },
            )
        )
        self.say("stream_part", part=dict(part))


def say(rng: random.Random, name: str, pieces: int) -> list[Said]:
    """What a producer says, so many pieces; some have their own text alone."""
    writer = _Writer(rng, name)
    kinds = [writer.text]
    if rng.random() < 0.8:
        kinds += [writer.text, writer.new_text, writer.reasoning, writer.reasoning, writer.tool]
        kinds += [writer.whole_text, writer.other]
    while len(writer.said) < pieces:
        rng.choice(kinds)()
    return writer.said

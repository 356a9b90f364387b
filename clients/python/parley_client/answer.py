"""What a handler sees of the question that it answers, and how it writes the answer."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

from parley_client import wire
from parley_client.errors import Json
from parley_client.writing import Writing

#: What a page makes a form of; the server lets no other answer through.
APPROVAL: Json = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Go ahead?"},
        "reason": {"type": "string", "title": "Why not?", "maxLength": 200},
    },
    "required": ["approved"],
}


class AnswerFailed(Exception):
    """Raised by a handler: the answer ends as `failed` with this code and message, and is not tried again."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class HasAsked(BaseException):
    """Ends a handler whose answer waits for people now. Not to be caught."""


class Answer:
    """One hand-out of a question. `attempt` counts from 0: a handler that failed before it showed anything is
    called again.

    What an answer has waited for comes with another hand-out, to this worker or another one: `resumed` is
    true then, `content` and `parts` are what people saw, and `given(id)` is what they said.
    """

    def __init__(self, request: wire.AgentRequest, message_id: str, writing: Writing) -> None:
        self.request, self.message_id = request, message_id
        self.session_id, self.question, self.history = (
            request["session_id"], request["message"], request["history"],
        )  # fmt: skip
        #: The question's text.
        self.asked = self.question["content"] or ""
        #: Of the page, that the question brings.
        self.tools = request.get("tools", [])
        resume = request.get("resume")
        self.resumed = resume is not None
        self.content = resume["content"] if resume else ""
        self.parts: list[Json] = cast("list[Json]", list(resume.get("parts", ()))) if resume else []
        self._interrupts = resume["interrupts"] if resume else []
        self.attempt = 0
        self.outcome: Json = {}
        self._writing = writing
        self._heard: list[wire.Message] = []
        self._thought: str | None = None  # the reasoning that grows

    # --- what is written

    async def text(self, content: str, *, part: str | None = None) -> None:
        """More of what people read: of the last text part, or of a new one with this id."""
        self._thought = None
        more = {} if part is None else {"part": part}
        await self._writing.text("stream_chunk", content, **more)

    async def reasoning(self, content: str) -> None:
        """More of what the model thinks; after anything else a thought of its own."""
        if self._thought is None:
            thought = self._new_id("reasoning")
            await self.part({"id": thought, "type": "reasoning", "text": ""})
            self._thought = thought
        await self._writing.text("stream_delta", content, part=self._thought)

    async def part(self, part: Mapping[str, Any]) -> None:
        """Another part, or the one with its `id` as it is now; the server has it then, and all before it."""
        self._thought = None
        whole = {"id": self._new_id(part["type"]), **part}
        await self._writing.piece("stream_part", {"part": whole})
        if not whole.get("transient"):
            self.parts = [*(each for each in self.parts if each["id"] != whole["id"]), whole]

    async def delta(self, part_id: str, content: str) -> None:
        """More text of a reasoning, or of a tool's input."""
        await self._writing.text("stream_delta", content, part=part_id)

    async def source(self, url: str, *, title: str | None = None, **more: Any) -> None:
        named = {} if title is None else {"title": title}
        await self.part({"id": self._new_id("source"), "type": "source", "url": url, **named, **more})

    async def tool(
        self,
        name: str,
        input: Any = None,
        *,
        id: str | None = None,
        tool_call_id: str | None = None,
        **more: Any,
    ) -> "ToolCall":
        """A tool is about to be called; `more` as a `tool` part has it, such as `title`. Its `tool_call_id`
        stays the same however often this is tried, once the part is there."""
        call_id = tool_call_id or f"call-{uuid.uuid4()}"
        own = {"id": id or self._new_id("tool"), "type": "tool", "tool_call_id": call_id, "name": name}
        call = ToolCall(self, {**own, "input": input, "state": "input_available", **more})
        await self.part(call.part)
        return call

    async def status(self, word: str | None, detail: str | None = None) -> None:
        """What it does while it writes nothing: a word such as `searching`; None: nothing."""
        self._writing.beside("agent_status", {"status": word, "detail": detail})

    def finish(self, **outcome: Any) -> None:
        """How it ends, when the handler does: `finish_reason`, `usage`, `model`, `tokens_used`, …"""
        self.outcome |= outcome

    # --- people

    def call(self, part_id: str) -> "ToolCall | None":
        """A tool's call that is in the answer already."""
        part = next((each for each in self.parts if each["id"] == part_id and each["type"] == "tool"), None)
        return None if part is None else ToolCall(self, part)

    def given(self, interrupt_id: str) -> wire.InterruptAnswer | None:
        """What people said, where they were asked."""
        asked = (each for each in self._interrupts if each["id"] == interrupt_id)
        return next((each.get("answer") for each in asked), None)

    async def ask(self, *interrupts: wire.Interrupt) -> NoReturn:
        """The answer waits for people from here on, and nobody holds it: this handler ends. When all is
        answered the question is handed out again."""
        await self._writing.piece("stream_wait", {"interrupts": list(interrupts)})
        raise HasAsked

    async def approved(
        self, call: "ToolCall", message: str, *, schema: Json = APPROVAL, expires_at: str | None = None
    ) -> bool:
        """Whether people allow a tool's call. Not answered yet, they are asked: then this does not return."""
        given = self.given(call.id)
        if given is not None:
            payload = given.get("payload")
            return given["status"] == "resolved" and isinstance(payload, dict) and bool(payload["approved"])
        await call.show(state="approval_requested")
        asked: wire.Interrupt = {
            "id": call.id,
            "reason": "confirmation",
            "message": message,
            "tool_call_id": call.tool_call_id,
            "response_schema": schema,
        }
        if expires_at is not None:
            asked["expires_at"] = expires_at
        await self.ask(asked)

    async def take_up(self) -> Sequence[wire.Message]:
        """The questions that came meanwhile and steer this answer (`when_busy: "steer"`): it answers them,
        too. What is not taken up is the next question."""
        heard, self._heard = self._heard, []
        for question in heard:
            steered = [question["message_id"]]
            await self.part({"id": question["message_id"], "type": "step", "steered": steered})
        return heard

    def hear(self, question: wire.Message) -> None:
        """One that was edited comes again."""
        others = (each for each in self._heard if each["message_id"] != question["message_id"])
        self._heard = [*others, question]

    def _new_id(self, kind: str) -> str:
        return f"{kind}-{1 + sum(part['type'] == kind for part in self.parts)}"


class ToolCall:
    """A `tool` part of an answer, and what becomes of it."""

    def __init__(self, answer: Answer, part: Json) -> None:
        self._answer, self.part = answer, part

    @property
    def id(self) -> str:
        return str(self.part["id"])

    @property
    def tool_call_id(self) -> str:
        return str(self.part["tool_call_id"])

    @property
    def input(self) -> Any:
        return self.part.get("input")

    async def show(self, **changed: Any) -> None:
        self.part = {**self.part, **changed}
        await self._answer.part(self.part)

    async def output(self, output: Any) -> None:
        await self.show(state="output_available", output=output)

    async def error(self, message: str) -> None:
        await self.show(state="output_error", error=message)

    async def deny(self) -> None:
        await self.show(state="output_denied")

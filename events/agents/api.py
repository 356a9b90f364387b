"""What one kind of model API is: how it is asked, and how its answer is read. Sends nothing."""

from typing import Any, Protocol

from events.agents.config import OpenAIConfig
from events.agents.deltas import Delta
from events.agents.lessons import Lessons
from events.agents.modelcall import ModelCall
from events.agents.prompt import Manner, Prompt

#: What an upstream calls an answer, and the number of its event that was read last, where they have numbers.
Place = tuple[str, int | None]


class AnswerReader(Protocol):
    """One answer. `finished`: the model has said that it is at its end, and why. `repeats`: its last
    event has all of the answer once more."""

    finished: bool
    repeats: bool

    @property
    def done(self) -> bool:
        """Nothing more comes of which anything is to be read."""
        ...

    @property
    def place(self) -> Place | None:
        """Of an answer that the upstream goes on with when nobody reads it."""
        ...

    def feed(self, data: bytes, event: bytes = b"") -> list[Delta]:
        """The data of one event, whose name is `event`; or a whole answer that came in place of a stream.

        Raises UpstreamFault, or msgspec.DecodeError or ValueError for what is no answer."""
        ...


class ModelAPI(Protocol):
    """`path` follows an agent's `base_url`."""

    path: str

    def prompt(self, call: ModelCall, manner: Manner) -> Prompt:
        """What the model is told."""
        ...

    def body(self, call: ModelCall, lessons: Lessons, prompt: Prompt) -> bytes:
        """The request's JSON."""
        ...

    def reader(self, config: OpenAIConfig) -> AnswerReader: ...


def extended(body: dict[str, Any], more: dict[str, Any] | None) -> dict[str, Any]:
    """With an agent's `extra_body`: its tools, which an upstream carries out, stand beside the agent's."""
    made = {**body, **(more or {})}
    tools = made.get("tools")
    if "tools" in body and isinstance(tools, list) and tools is not body["tools"]:
        made["tools"] = [*body["tools"], *tools]
    if "tool_choice" in body:
        made["tool_choice"] = body["tool_choice"]
    return made

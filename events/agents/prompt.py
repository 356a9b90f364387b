"""What a model is told: the conversation cut to a budget, in the turns that it accepts. Sends nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.attachments import Attachment, files_of
from events.agents.base import Request
from events.agents.chatturns import THOUGHTS, messages_of
from events.agents.config import OpenAIConfig
from events.agents.earlier import thoughts_of, turns_of
from events.agents.toldfiles import (
    BYTES_PER_TOKEN,
    Content,
    FilesTold,
    after,
    context_of,
    has_files,
    joined,
    tokens_of,
)
from events.schema import Message

#: Of a window for the answer, where no setting says how long it may be: a page, or a quarter of a small one.
ANSWER_TOKENS = 1024

ROLES = {"user": "user", "agent": "assistant", "system": "system"}
#: Whose text is what was answered, or is so far. A failed or interrupted answer is a fault's own.
TOLD = ("complete", "cancelled", "streaming", "waiting")


class Manner(Struct, frozen=True):
    """How one model wants to be told. `budget` counts tokens by our estimate."""

    budget: int
    alternate: bool = False
    system_role: bool = True
    images: bool = True
    tools: bool = True


class Prompt(Struct, frozen=True):
    """`tokens` is our estimate of it all; `history` counts messages before the question,
    `files` those that are told by their content."""

    messages: list[dict[str, Any]]
    tokens: int
    history: int
    files: int = 0


def answer_room(config: OpenAIConfig, window: int) -> int:
    """Tokens of a window that are left to the answer."""
    return min(config.output_tokens or min(ANSWER_TOKENS, window // 4), window * 3 // 4)


def budget_of(config: OpenAIConfig) -> int:
    """What the settings let the model be told."""
    if config.context_window is None:
        return config.context_tokens
    return min(config.context_tokens, config.context_window - answer_room(config, config.context_window))


def conversation(
    request: Request,
    config: OpenAIConfig,
    manner: Manner | None = None,
    *,
    note: str = "",
    with_tools: bool = False,
    attached: Mapping[str, Attachment] | None = None,
) -> Prompt:
    """The system prompt, as much of the newest history as the budget allows, and the message itself.

    `note` is added to the system prompt. `with_tools`: earlier answers are told with their calls of tools.
    `attached`: files by their content, as far as they fit; all others by their name."""
    if manner is None:
        manner = Manner(budget_of(config), alternate=config.turns == "alternate")
    asked = request.message
    instructions = "\n\n".join(text for text in (config.system_prompt, note) if text)
    budget = manner.budget - (tokens_of(instructions) if instructions else 0)
    with_tools = with_tools and not manner.alternate
    files = FilesTold(attached or {}, pictures=manner.images)
    question = files.content(asked, budget)
    context = context_of(asked, budget - tokens_of(question))
    if context:
        question = joined(question, context)
    told = _newest(request.history, budget - tokens_of(question), with_tools, files)
    names = config.names if _several((*(said for said, _ in told), asked)) else "off"
    if names == "field" and manner.alternate:
        names = "auto"  # several people's messages become one
    spoken = [
        spoken
        for said, content in (*told, (asked, question))
        for spoken in _messages(said, content, names, with_tools)
    ]
    system = [{"role": "system", "content": instructions}] if instructions else []
    messages = [*system, *spoken]
    if manner.alternate:
        messages = _in_turns(messages, manner.system_role)
    shown = sum(has_files(each["content"]) for each in messages)
    return Prompt(messages, sum(map(_tokens_of, messages)), len(told), shown)


def _newest(
    history: Sequence[Message], budget: int, with_tools: bool, files: FilesTold
) -> list[tuple[Message, Content]]:
    """Each with its content. No model takes an answer for a beginning: one whose question was cut off is cut
    off, too."""
    chosen: list[tuple[Message, Content]] = []
    for said in reversed(history):
        if said.status not in TOLD or (not (said.content or "").strip() and not files_of(said)):
            continue
        content = files.content(said, budget)
        budget -= sum(map(_tokens_of, _messages(said, content, "off", with_tools)))
        if budget < 0:
            break
        chosen.append((said, content))
    chosen.reverse()
    first = next((at for at, (said, _) in enumerate(chosen) if said.sender_type == "user"), len(chosen))
    return [each for each in chosen[:first] if each[0].sender_type != "agent"] + chosen[first:]


def _several(told: Iterable[Message]) -> bool:
    return len({said.sender_id for said in told if said.sender_type == "user"}) > 1


def _messages(said: Message, content: Content, names: str, with_tools: bool) -> list[dict[str, Any]]:
    turns = turns_of(said) if with_tools and said.sender_type == "agent" else []
    if not turns:
        spoken = _spoken(said, content, names)
        thoughts = thoughts_of(said) if said.sender_type == "agent" else []
        return [{**spoken, THOUGHTS: thoughts}] if thoughts else [spoken]
    return [message for turn in turns for message in messages_of(turn, running=False)]


def _spoken(said: Message, content: Content, names: str) -> dict[str, Any]:
    role = ROLES[said.sender_type]
    if role != "user" or names == "off":
        return {"role": role, "content": content}
    if names == "field":
        return {"role": role, "name": re.sub(r"[^A-Za-z0-9_-]", "_", said.sender_id)[:64], "content": content}
    # In the text: most templates leave the field `name` out, and some servers refuse it.
    return {"role": role, "content": after(f"{said.sender_id}: ", content)}


def _in_turns(messages: list[dict[str, Any]], system_role: bool) -> list[dict[str, Any]]:
    """User and assistant one after the other; a system message stands at the beginning, or nowhere."""
    turns: list[dict[str, Any]] = []
    for each in messages:
        role = each["role"]
        if role == "system" and (turns or not system_role):
            role = "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = joined(turns[-1]["content"], each["content"])
        else:
            turns.append({**each, "role": role})
    return turns


def _tokens_of(message: dict[str, Any]) -> int:
    calls = message.get("tool_calls")
    written = len(msgspec.json.encode(calls)) // BYTES_PER_TOKEN if calls else 0
    return tokens_of(message["content"] or "") + written

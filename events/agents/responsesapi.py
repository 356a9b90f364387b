"""The Responses API, of whichever server: what the model is told, as input items. Sends nothing."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from events.agents.api import extended
from events.agents.chatturns import THOUGHTS, messages_of
from events.agents.config import OpenAIConfig
from events.agents.lessons import Lessons
from events.agents.modelcall import ModelCall, ModelTurn, OfferedTool
from events.agents.prompt import Manner, Prompt, conversation
from events.agents.responses import ResponseReader

Item = dict[str, Any]

#: Nothing of a conversation is stored there, so its reasoning comes along.
INCLUDE = ["reasoning.encrypted_content"]


class Responses:
    path = "/responses"

    def prompt(self, call: ModelCall, manner: Manner) -> Prompt:
        return conversation(
            call.request,
            call.config,
            manner,
            note=call.note,
            with_tools=bool(call.tools),
            attached=call.attached,
        )

    def body(self, call: ModelCall, lessons: Lessons, prompt: Prompt) -> bytes:
        config, messages = call.config, prompt.messages
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        told = messages[1:] if system else messages
        body: Item = {
            "model": config.model,
            **({"instructions": system} if system else {}),
            "input": [*_items(told, lessons), *_items(_said(call.turns), lessons)],
            "stream": True,
            "store": config.background,
        }
        body |= {name: value for name, value in _optional(call, lessons).items() if value is not None}
        return msgspec.json.encode(extended(body, config.extra_body))

    def reader(self, config: OpenAIConfig) -> ResponseReader:
        return ResponseReader(config.thinking, config.output_tokens, background=config.background)


def _optional(call: ModelCall, lessons: Lessons) -> Item:
    config = call.config
    tools = call.tools if call.may_call or lessons.tool_choice else ()
    reasoning = {"effort": config.reasoning_effort, "summary": config.reasoning_summary}
    reasoning = {name: value for name, value in reasoning.items() if value is not None}
    return {
        "include": INCLUDE if lessons.encrypted else None,
        "max_output_tokens": config.output_tokens,
        "temperature": config.temperature,
        "reasoning": reasoning or None,
        "text": _format(config.response_format),
        "background": True if config.background else None,
        "tools": [_tool(tool) for tool in tools] or None,
        "tool_choice": "none" if tools and not call.may_call else None,
    }


def _format(asked: Item | None) -> Item | None:
    """What chat completions call `response_format`: there a schema stands one level deeper."""
    if asked is None:
        return None
    schema = asked.get("json_schema")
    return {"format": {"type": asked.get("type"), **schema} if isinstance(schema, dict) else asked}


def _tool(tool: OfferedTool) -> Item:
    # Without `strict: false` a schema has to keep rules that most do not.
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": False,
    }


def _said(turns: Iterable[ModelTurn]) -> Iterator[Item]:
    """What the model said in this answer's earlier calls, and what became of its tools."""
    return (message for turn in turns for message in messages_of(turn, running=True))


def _items(messages: Iterable[Item], lessons: Lessons) -> Iterator[Item]:
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "assistant":
            yield from _thoughts(message.get(THOUGHTS, ()), lessons)
            if content:
                yield _answer(content)
            yield from map(_call, message.get("tool_calls", ()))
        elif role == "tool":
            yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}
        else:
            yield {"role": role, "content": _content(content)}


def _answer(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def _content(content: str | list[Item]) -> str | list[Item]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Item) -> Item:
    """A part of a chat completion's message, as these items have it."""
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return {"type": "input_text", "text": part["text"]}


def _thoughts(thoughts: Iterable[tuple[str, Item]], lessons: Lessons) -> Iterator[Item]:
    for text, encrypted in thoughts if lessons.encrypted else ():
        summary = [{"type": "summary_text", "text": text}] if text else []
        # Whoever wrote the answer wrote this: it is a thought's, and no other item's.
        given: Item = {name: encrypted[name] for name in ("id", "encrypted_content") if name in encrypted}
        yield {"type": "reasoning", "summary": summary, **given}


def _call(call: Item) -> Item:
    function = call["function"]
    return {
        "type": "function_call",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }

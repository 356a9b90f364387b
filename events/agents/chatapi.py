"""The chat completions API, of whichever server. Sends nothing."""

import math
from typing import Any

import msgspec

from events.agents.chatturns import LEAST, messages_of, offered, shortened
from events.agents.completions import CompletionReader
from events.agents.config import OpenAIConfig
from events.agents.lessons import Lessons
from events.agents.modelcall import ModelCall
from events.agents.prompt import BYTES_PER_TOKEN, Manner, Prompt, conversation, message_tokens


class ChatCompletions:
    path = "/chat/completions"

    def prompt(self, call: ModelCall, manner: Manner) -> Prompt:
        tools = call.tools if manner.tools else ()
        if not tools:
            return conversation(call.request, call.config, manner, note=call.note)
        offers = math.ceil(len(msgspec.json.encode(offered(tools))) / BYTES_PER_TOKEN)
        turns = shortened(call.turns, max(0, manner.budget - offers) * BYTES_PER_TOKEN)
        made = [message for turn in turns for message in messages_of(turn, running=manner.reasoning)]
        reserved = offers + sum(map(message_tokens, made))
        prompt = conversation(
            call.request, call.config, manner, reserved=reserved, note=call.note, with_tools=True
        )
        # What tools gave can be cut further, as the conversation can.
        cuttable = sum(len(each.output) > LEAST for turn in turns for each in turn.calls)
        return Prompt(prompt.messages + made, prompt.tokens + reserved, prompt.history + cuttable)

    def body(self, call: ModelCall, lessons: Lessons, prompt: Prompt) -> bytes:
        config = call.config
        given = {name: value for name, value in _optional(config, lessons).items() if value is not None}
        body = {"model": config.model, "messages": prompt.messages, "stream": True, **given}
        if call.tools and lessons.tools and (call.may_call or lessons.tool_choice):
            body["tools"] = offered(call.tools)
            if not call.may_call:
                body["tool_choice"] = "none"
        return msgspec.json.encode(body | (config.extra_body or {}))

    def reader(self, config: OpenAIConfig) -> CompletionReader:
        return CompletionReader(config.thinking)


def _optional(config: OpenAIConfig, lessons: Lessons) -> dict[str, Any]:
    limit = "max_tokens" if lessons.max_tokens else "max_completion_tokens"
    optional = {
        "stream_options": {"include_usage": True}
        if config.stream_options and lessons.stream_options
        else None,
        "temperature": config.temperature,
        limit: config.max_tokens,
        "reasoning_effort": config.reasoning_effort,
        "response_format": config.response_format,
    }
    if config.max_completion_tokens is not None:
        optional["max_completion_tokens"] = config.max_completion_tokens
    return optional

"""The chat completions API, of whichever server. Sends nothing."""

from typing import Any

import msgspec

from events.agents.api import extended
from events.agents.chatturns import SIGNED, THOUGHTS, WORDS_BACK, messages_of, offered
from events.agents.completions import CompletionReader
from events.agents.config import OpenAIConfig
from events.agents.lessons import Lessons
from events.agents.modelcall import ModelCall
from events.agents.prompt import Manner, Prompt, conversation


class ChatCompletions:
    path = "/chat/completions"

    def prompt(self, call: ModelCall, manner: Manner) -> Prompt:
        prompt = conversation(
            call.request,
            call.config,
            manner,
            note=call.note,
            with_tools=bool(call.tools),
            attached=call.attached,
        )
        made = [message for turn in call.turns for message in messages_of(turn, running=True)]
        return msgspec.structs.replace(prompt, messages=prompt.messages + made)

    def body(self, call: ModelCall, lessons: Lessons, prompt: Prompt) -> bytes:
        config = call.config
        given = {name: value for name, value in _optional(config, lessons).items() if value is not None}
        body = {
            "model": config.model,
            "messages": _sendable(prompt.messages, lessons),
            "stream": True,
            **given,
        }
        if call.tools and (call.may_call or lessons.tool_choice):
            body["tools"] = offered(call.tools)
            if not call.may_call:
                body["tool_choice"] = "none"
        return msgspec.json.encode(extended(body, config.extra_body))

    def reader(self, config: OpenAIConfig) -> CompletionReader:
        return CompletionReader(config.thinking)


def _sendable(messages: list[dict[str, Any]], lessons: Lessons) -> list[dict[str, Any]]:
    """Without what only the Responses API takes back, or what this upstream takes back not at all."""
    left_out = {THOUGHTS} if lessons.reasoning else {THOUGHTS, *SIGNED, WORDS_BACK}
    return [
        {name: value for name, value in each.items() if name not in left_out}
        if left_out & each.keys()
        else each
        for each in messages
    ]


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

"""Model calls with their tools, as messages of chat completions. Sends nothing."""

from collections.abc import Iterable
from typing import Any

from events.agents.modelcall import CalledTool, ModelTurn, OfferedTool
from events.agents.reading import ENCRYPTED

#: What a server has put at a tool call and wants to see again there (Gemini's signatures, LiteLLM's).
_AT_CALL = ("extra_content", "provider_specific_fields")
#: What it has put at a message, and wants to see again there: reasoning that is signed or encrypted.
SIGNED = ("reasoning_details", "thinking_blocks")
#: What the Responses API takes back beside a message: each thought with its words.
THOUGHTS = "thoughts"
#: Reasoning came under this name, and is wanted back under it while tools run (DeepSeek).
WORDS_BACK = "reasoning_content"
#: Marks reasoning that came so.
WORDS = "field"


def offered(tools: Iterable[OfferedTool]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def messages_of(turn: ModelTurn, *, running: bool) -> list[dict[str, Any]]:
    """`running`: the answer that it belongs to is not at its end, so that the model goes on with what it
    thought."""
    said: dict[str, Any] = {"role": "assistant", "content": turn.text or None, **_reasoning(turn, running)}
    if turn.calls:
        said["tool_calls"] = [_call(call) for call in turn.calls]
    elif not turn.text:
        said["content"] = ""
    results = [
        {"role": "tool", "tool_call_id": call.tool_call_id, "content": call.output} for call in turn.calls
    ]
    return [said, *results, *({"role": "user", "content": text} for text in turn.heard)]


def _call(call: CalledTool) -> dict[str, Any]:
    metadata = call.provider_metadata or {}
    given = {name: metadata[name] for name in _AT_CALL if name in metadata}
    function = {"name": call.name, "arguments": call.input_text}
    return {"id": call.tool_call_id, "type": "function", "function": function, **given}


def _reasoning(turn: ModelTurn, running: bool) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for text, metadata in turn.reasoning:
        for name in SIGNED:
            if isinstance(metadata.get(name), list):
                said[name] = [*said.get(name, ()), *metadata[name]]
        if running and WORDS in metadata and text:
            said[WORDS_BACK] = said.get(WORDS_BACK, "") + text
        if isinstance(metadata.get(ENCRYPTED), dict):
            said[THOUGHTS] = [*said.get(THOUGHTS, ()), (text, metadata[ENCRYPTED])]
    return said

"""Groq, DeepSeek, Mistral: streams."""

from events.agents.faults import Kind
from events.schema import Usage
from tests.agents.shapes.shape import (
    COUNTED,
    PLAIN,
    PLAIN_USAGE,
    ROLE,
    USAGE,
    VERCEL,
    Shape,
    delta,
    events,
    piece,
)

SHAPES = [
    Shape(
        server="Groq",
        shows="reasoning as `reasoning`, usage in `x_groq` and beside it",
        date="2026-02-11",
        how="recorded",
        source=VERCEL + "groq/src/__fixtures__/groq-reasoning.chunks.txt",
        body=events(
            delta(ROLE, x_groq={"id": "req_1", "seed": 1}),
            delta({"reasoning": "Okay"}),
            delta({"content": "3"}),
            delta({}, "stop", x_groq={"id": "req_1", "usage": {"queue_time": 0.1, **COUNTED}}),
        ),
        text="3",
        reasoning="Okay",
        usage=USAGE,
    ),
    Shape(
        server="Groq",
        shows="a whole tool call at once",
        date="2026-02-11",
        how="recorded",
        source=VERCEL + "groq/src/__fixtures__/groq-tool-call.chunks.txt",
        body=events(
            delta({"role": "assistant", "content": None}, x_groq={"id": "req_1", "seed": 1}),
            delta({"tool_calls": [piece(0, "{}", id="tk85n1k4m", name="weather")]}),
            delta({}, "tool_calls"),
        ),
        calls=(("tk85n1k4m", "weather", "{}"),),
        finish="tool_calls",
    ),
    Shape(
        server="Groq",
        shows="an error as an event of that name; tools that it called itself",
        date="2026-11-29",
        how="documented",
        source="groq 1.7.0 (PyPI), _streaming.py, types/chat/chat_completion_chunk.py",
        body=events(
            delta({"content": "half", "executed_tools": [{"index": 0, "type": "search", "arguments": "{}"}]}),
            'event: error\ndata: {"error": {"message": "Failed to call a function.", '
            '"code": "tool_use_failed"}}\n\n',
            done=False,
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
        unread=frozenset(["executed_tools"]),
    ),
    Shape(
        server="DeepSeek",
        shows="`reasoning_content` beside null content, usage with the last choice",
        date="2025-12-02",
        how="recorded",
        source=VERCEL + "deepseek/src/chat/__fixtures__/deepseek-reasoning.chunks.txt",
        body=events(
            delta({"role": "assistant", "content": None, "reasoning_content": ""}, usage=None),
            delta({"content": None, "reasoning_content": "We"}, usage=None),
            delta({"content": "Yes", "reasoning_content": None}, usage=None),
            delta(
                {"content": "", "reasoning_content": None},
                "stop",
                usage={
                    "prompt_tokens": 18,
                    "completion_tokens": 219,
                    "total_tokens": 237,
                    "completion_tokens_details": {"reasoning_tokens": 205},
                    "prompt_cache_hit_tokens": 7,
                    "prompt_cache_miss_tokens": 11,
                },
            ),
        ),
        text="Yes",
        reasoning="We",
        usage=Usage(
            input_tokens=18, output_tokens=219, total_tokens=237, reasoning_tokens=205, cached_input_tokens=7
        ),
    ),
    Shape(
        server="DeepSeek",
        shows="keep-alive comments; an answer that its machines broke off",
        date="2026-11-29",
        how="documented",
        source="https://api-docs.deepseek.com/quick_start/rate_limit, /api/create-chat-completion",
        body=events(
            ": keep-alive\n\n", delta({"content": "half"}), delta({}, "insufficient_system_resource")
        ),
        text="half",
        finish="error",
    ),
    Shape(
        server="Mistral",
        shows="content as a list with thinking in it",
        date="2026-01-22",
        how="recorded",
        source=VERCEL + "mistral/src/__fixtures__/mistral-reasoning.chunks.txt",
        body=events(
            delta(
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}],
                }
            ),
            delta(
                {"content": [{"type": "text", "text": "2 + 2 "}, {"type": "reference", "reference_ids": [1]}]}
            ),
            delta({"content": [{"type": "text", "text": "= 4"}]}),
            delta(
                {"content": ""}, "stop", usage={"prompt_tokens": 5, "total_tokens": 7, "completion_tokens": 2}
            ),
        ),
        text="2 + 2 = 4",
        reasoning="Hm",
        usage=PLAIN_USAGE,
        unread=frozenset(["content.reference"]),
    ),
    Shape(
        server="Mistral",
        shows="a tool call without index or type",
        date="2026-01-22",
        how="recorded",
        source=VERCEL + "mistral/src/__fixtures__/mistral-tool-call.chunks.txt",
        body=events(
            delta(ROLE),
            delta(
                {
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "gSIMJiOkT",
                            "function": {"name": "weather", "arguments": '{"location": "Seoul"}'},
                        }
                    ],
                },
                "tool_calls",
                usage=PLAIN,
            ),
        ),
        calls=(("gSIMJiOkT", "weather", '{"location": "Seoul"}'),),
        finish="tool_calls",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="Mistral",
        shows="a tool call in pieces with an empty name",
        date="2026-08-20",
        how="recorded",
        source=VERCEL + "mistral/src/__fixtures__/mistral-incremental-tool-call.chunks.txt",
        body=events(
            delta(
                {
                    "tool_calls": [piece(0, "", id="chatcmpl-tool-9f", name="search")],
                    "index": 0,
                    "content": "",
                }
            ),
            delta({"tool_calls": [piece(0, '{"q": "x"}', name="")], "index": 0, "content": ""}),
            delta({"index": 0, "content": ""}, "tool_calls", usage=PLAIN),
        ),
        calls=(("chatcmpl-tool-9f", "search", '{"q": "x"}'),),
        finish="tool_calls",
        usage=PLAIN_USAGE,
    ),
]

"""OpenAI, Azure: streams."""

from events.agents.deltas import Citation
from events.agents.faults import Kind
from tests.agents.shapes.shape import (
    CITATION,
    COUNTED,
    PLAIN,
    PLAIN_USAGE,
    ROLE,
    USAGE,
    VERCEL,
    Shape,
    delta,
    events,
    only,
    piece,
)

SHAPES = [
    Shape(
        server="OpenAI",
        shows="text, usage in a chunk of its own without choices",
        source=VERCEL + "openai/src/chat/__fixtures__/openai-text.chunks.txt",
        date="2026-02-12",
        how="recorded",
        body=events(
            delta({**ROLE, "refusal": None}, usage=None, obfuscation="Qup1", service_tier="default"),
            delta({"content": "**"}, usage=None),
            delta({"content": "Hi"}, usage=None),
            delta({}, "stop", usage=None),
            only(usage=COUNTED),
        ),
        text="**Hi",
        usage=USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="a refusal in pieces",
        date="2026-11-29",
        how="documented",
        source="openai 3.57.0 (PyPI), types/chat/chat_completion_chunk.py",
        body=events(
            delta({"role": "assistant", "content": None, "refusal": ""}),
            delta({"refusal": "I can't "}),
            delta({"refusal": "do that."}),
            delta({}, "stop"),
            only(usage=PLAIN),
        ),
        text="I can't do that.",
        finish="content_filter",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="OpenAI",
        shows="two tool calls in pieces, by index",
        date="2026-11-29",
        how="documented",
        source="openai 3.57.0 (PyPI), types/chat/chat_completion_chunk.py",
        body=events(
            delta(
                {"role": "assistant", "content": None, "tool_calls": [piece(0, "", id="call_a", name="f")]}
            ),
            delta({"tool_calls": [piece(0, '{"x"')]}),
            delta({"tool_calls": [piece(1, "", id="call_b", name="g")]}),
            delta({"tool_calls": [piece(1, "{}"), piece(0, ":1}")]}),
            delta({}, "tool_calls"),
        ),
        calls=(("call_a", "f", '{"x":1}'), ("call_b", "g", "{}")),
        finish="tool_calls",
    ),
    Shape(
        server="OpenAI",
        shows="annotations of a search model as sources",
        date="2026-11-29",
        how="documented",
        source="openai 3.57.0 (PyPI), types/chat/chat_completion_message.py",
        body=events(
            delta({**ROLE, "content": "see A"}),
            delta({"annotations": [CITATION, CITATION]}),
            delta({}, "stop"),
        ),
        text="see A",
        sources=(Citation("https://a.example/", "A"),),
    ),
    Shape(
        server="OpenAI",
        shows="an error within the stream",
        date="2025-07-24",
        how="recorded",
        source="https://github.com/coder/coder aibridge/fixtures/openai/chatcompletions/stream_error.txtar",
        body=events(
            delta({**ROLE, "refusal": None}),
            delta({"content": "The"}),
            {
                "error": {
                    "message": "The server had an error while processing your request.",
                    "type": "server_error",
                }
            },
            done=False,
        ),
        text="The",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="Azure",
        shows="filter results before the text, in a chunk without a choice",
        date="2025-11-05",
        source=VERCEL + "openai/src/chat/__fixtures__/azure-model-router.1.chunks.txt",
        how="recorded",
        body=events(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": [
                    {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}
                ],
            },
            {
                "choices": [
                    {
                        "content_filter_results": {},
                        "delta": {**ROLE, "refusal": None},
                        "index": 0,
                        "finish_reason": None,
                    }
                ],
                "model": "gpt-5-nano-2025-08-07",
                "usage": None,
            },
            delta({"content": "Hi"}),
            delta({}, "stop", usage=None),
            only(usage=COUNTED),
        ),
        text="Hi",
        usage=USAGE,
    ),
    Shape(
        server="Azure",
        shows="an answer that the filter cuts; citations of `On your data`",
        date="2026-11-29",
        how="documented",
        source="https://learn.microsoft.com/azure/ai-services/openai/references/on-your-data",
        body=events(
            delta(
                {
                    "role": "assistant",
                    "context": {
                        "citations": [
                            {"content": "text", "title": "T", "url": "https://a.example/", "chunk_id": "0"}
                        ],
                        "intent": "[]",
                    },
                }
            ),
            delta({"content": "half"}),
            delta({}, "content_filter"),
        ),
        text="half",
        finish="content_filter",
        sources=(Citation("https://a.example/", "T", "text"),),
    ),
]

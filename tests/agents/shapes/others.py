"""Gemini, Perplexity, any of them: streams."""

import json

from events.agents.deltas import Citation
from events.agents.faults import Kind
from tests.agents.shapes.shape import PLAIN, PLAIN_USAGE, VERCEL, Shape, delta, events, piece

SHAPES = [
    Shape(
        server="Gemini",
        shows="two tool calls without index, `stop` for them, signatures",
        date="2026-08-17",
        how="recorded",
        source="https://github.com/open-webui/computer/issues/224, https://github.com/noho/"
        "dayu-agent/issues/45",
        body=events(
            delta(
                {
                    "role": "assistant",
                    "tool_calls": [
                        piece(
                            None,
                            '{"city":"Seo',
                            id="call-1",
                            name="weather",
                            extra_content={"google": {"thought_signature": "c2ln"}},
                        )
                    ],
                }
            ),
            delta({"tool_calls": [piece(None, 'ul"}')]}),
            delta({"tool_calls": [piece(None, "{}", id="call-2", name="clock")]}),
            delta({"role": "assistant"}, "stop", usage=PLAIN),
        ),
        calls=(("call-1", "weather", '{"city":"Seoul"}'), ("call-2", "clock", "{}")),
        finish="tool_calls",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="Gemini",
        shows="two tool calls under one index",
        date="2026-08-17",
        how="recorded",
        source="https://github.com/microclaw/microclaw/pull/230",
        body=events(
            delta({"role": "assistant", "tool_calls": [piece(0, "{}", id="a", name="weather")]}),
            delta(
                {"role": "assistant", "tool_calls": [piece(0, '{"z":1}', id="b", name="clock")]}, "tool_calls"
            ),
        ),
        calls=(("a", "weather", "{}"), ("b", "clock", '{"z":1}')),
        finish="tool_calls",
    ),
    Shape(
        server="Gemini",
        shows="an error within the stream, in a list",
        date="2025-11-13",
        how="recorded",
        source="https://github.com/google-gemini/gemini-cli/issues/13006",
        body=events(
            delta({"role": "assistant", "content": "half"}),
            'data: [{"error": {"code": 503, "message": "The model is overloaded.", '
            '"status": "UNAVAILABLE"}}]\n\n',
            done=False,
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="Perplexity",
        shows="citations and usage in each chunk, the last one `chat.completion.done`",
        date="2026-02-11",
        how="recorded",
        source=VERCEL + "perplexity/src/__fixtures__/perplexity-citations.chunks.txt",
        body=events(
            {
                "id": "c1",
                "model": "sonar",
                "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
                "citations": ["https://a.example/", "https://b.example/"],
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "The"}}],
            },
            {
                "id": "c1",
                "model": "sonar",
                "usage": PLAIN,
                "citations": ["https://a.example/", "https://b.example/"],
                "object": "chat.completion.done",
                "choices": [
                    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
                ],
            },
        ),
        text="The",
        usage=PLAIN_USAGE,
        sources=(Citation("https://a.example/"), Citation("https://b.example/")),
    ),
    Shape(
        server="Perplexity",
        shows="search results with titles, a message beside the delta",
        date="2026-11-29",
        how="documented",
        source="perplexityai 0.46.1 (PyPI), types/stream_chunk.py",
        body=events(
            {
                "id": "c1",
                "model": "sonar",
                "citations": ["https://a.example/"],
                "type": "message",
                "search_results": [
                    {"title": "A", "url": "https://a.example/", "snippet": "text", "date": None}
                ],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "The"},
                        "delta": {"role": "assistant", "content": "The"},
                        "finish_reason": None,
                    }
                ],
            },
            {
                "id": "c1",
                "model": "sonar",
                "type": "end_of_stream",
                "status": "COMPLETED",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "The"},
                        "delta": {"content": ""},
                        "finish_reason": "stop",
                    }
                ],
            },
            done=False,
        ),
        text="The",
        sources=(Citation("https://a.example/", "A", "text"),),
    ),
    Shape(
        server="any",
        shows="one completion as JSON from a server that does not stream",
        date="2026-11-29",
        how="documented",
        source="openai 3.57.0 (PyPI), types/chat/chat_completion.py",
        body=json.dumps(
            {
                "id": "c1",
                "object": "chat.completion",
                "model": "m",
                "usage": PLAIN,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "whole", "reasoning_content": "Hm"},
                    }
                ],
            },
            indent=1,
        ).encode(),
        text="whole",
        reasoning="Hm",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="any",
        shows="an error as JSON in a 200 answer",
        date="2026-11-29",
        how="documented",
        source="https://openrouter.ai/docs/api/reference/errors-and-debugging",
        body=b'\n  {"error": {"code": 402, "message": "Insufficient credits"}}',
        finish=None,
        fault=Kind.QUOTA,
    ),
]

"""LiteLLM, OpenRouter: streams."""

from events.agents.deltas import Citation
from events.agents.faults import Kind
from events.schema import Usage
from tests.agents.shapes.shape import CITATION, PLAIN, PLAIN_USAGE, Shape, delta, events

SHAPES = [
    Shape(
        server="LiteLLM",
        shows="reasoning, usage in a chunk with an empty choice",
        date="2026-11-30",
        how="run",
        source="litellm[proxy] 1.108.7 (PyPI)",
        body=events(
            {
                "id": "c1",
                "model": "tiny",
                "choices": [{"index": 0, "delta": {"reasoning_content": "Hmm", "role": "assistant"}}],
            },
            {"id": "c1", "model": "tiny", "choices": [{"index": 0, "delta": {"content": "Yes"}}]},
            {"id": "c1", "model": "tiny", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {
                "id": "c1",
                "model": "tiny",
                "choices": [{"index": 0, "delta": {}}],
                "usage": {
                    "completion_tokens": 2,
                    "prompt_tokens": 5,
                    "total_tokens": 7,
                    "completion_tokens_details": {"reasoning_tokens": 1},
                    "prompt_tokens_details": {"cached_tokens": 3},
                },
            },
        ),
        text="Yes",
        reasoning="Hmm",
        usage=Usage(
            input_tokens=5, output_tokens=2, total_tokens=7, reasoning_tokens=1, cached_input_tokens=3
        ),
    ),
    Shape(
        server="LiteLLM",
        shows="an error within the stream, its code as text",
        date="2026-11-30",
        how="run",
        source="litellm[proxy] 1.108.7 (PyPI)",
        body=events(
            delta({"role": "assistant", "content": "half"}),
            {
                "error": {
                    "message": "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached",
                    "type": "throttling_error",
                    "param": None,
                    "code": "429",
                }
            },
            done=False,
        ),
        text="half",
        finish=None,
        fault=Kind.RATE_LIMIT,
    ),
    Shape(
        server="LiteLLM",
        shows="sources and two tool calls",
        date="2026-11-30",
        how="run",
        source="litellm[proxy] 1.108.7 (PyPI)",
        body=events(
            {"id": "c1", "choices": [{"index": 0, "delta": {"annotations": [CITATION]}}]},
            {
                "id": "c1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "role": "assistant",
                            "tool_calls": [
                                {
                                    "id": "a",
                                    "function": {"arguments": "", "name": "f"},
                                    "type": "function",
                                    "index": 0,
                                }
                            ],
                        },
                    }
                ],
            },
            {
                "id": "c1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {"function": {"arguments": '{"x":1}'}, "type": "function", "index": 0}
                            ]
                        },
                    }
                ],
            },
            {
                "id": "c1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "id": "b",
                                    "function": {"arguments": "{}", "name": "g"},
                                    "type": "function",
                                    "index": 1,
                                }
                            ]
                        },
                    }
                ],
            },
            {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        ),
        calls=(("a", "f", '{"x":1}'), ("b", "g", "{}")),
        finish="tool_calls",
        sources=(Citation("https://a.example/", "A"),),
    ),
    Shape(
        server="OpenRouter",
        shows="comments that keep alive, reasoning twice: words and details",
        date="2026-06-25",
        how="documented",
        source="https://openrouter.ai/docs/api/reference/streaming; @openrouter/ai-sdk-provider 4247ab2",
        body=events(
            ": OPENROUTER PROCESSING\n\n",
            ": OPENROUTER PROCESSING\n\n",
            delta(
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning": "Hm",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "Hm", "format": "anthropic-claude-v1", "index": 0}
                    ],
                }
            ),
            delta(
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning": None,
                    "reasoning_details": [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 1}],
                }
            ),
            delta({"role": "assistant", "content": "Yes"}),
            delta({"role": "assistant", "content": ""}, "stop"),
            delta({"role": "assistant", "content": ""}, usage={**PLAIN, "cost": 0.1}),
        ),
        text="Yes",
        reasoning="Hm",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="OpenRouter",
        shows="an error in the middle, beside a choice that ends with `error`",
        date="2026-11-29",
        how="documented",
        source="https://openrouter.ai/docs/api/reference/streaming",
        body=events(
            delta({"role": "assistant", "content": "half"}),
            {
                "id": "c1",
                "model": "m",
                "error": {
                    "code": 502,
                    "message": "Network connection lost.",
                    "metadata": {"error_type": "provider_unavailable"},
                },
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            },
            done=False,
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="OpenRouter",
        shows="sources of web search; a summary as the only reasoning",
        date="2026-06-25",
        how="documented",
        source="@openrouter/ai-sdk-provider 4247ab2, src/schemas/reasoning-details.ts",
        body=events(
            delta({"reasoning_details": [{"type": "reasoning.summary", "summary": "Thought of A."}]}),
            delta(
                {
                    "content": "A",
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {"url": "https://a.example/", "title": "A", "content": "text"},
                        }
                    ],
                }
            ),
            delta({}, "stop"),
        ),
        text="A",
        reasoning="Thought of A.",
        sources=(Citation("https://a.example/", "A", "text"),),
    ),
]

"""vLLM, llama.cpp, Ollama: streams."""

from events.agents.faults import Kind
from events.schema import Usage
from tests.agents.shapes.shape import PLAIN, PLAIN_USAGE, ROLE, Shape, delta, events, only, piece

SHAPES = [
    Shape(
        server="vLLM",
        shows="reasoning as `reasoning`, usage in each chunk",
        date="2026-11-29",
        how="documented",
        source="https://github.com/vllm-project/vllm vllm/entrypoints/openai/chat_completion/"
        "serving.py (006c49d)",
        body=events(
            delta(ROLE, usage={"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}),
            delta({"reasoning": "Hm"}, usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}),
            delta({"content": "Yes"}, "stop", usage=PLAIN),
            only(usage=PLAIN),
        ),
        text="Yes",
        reasoning="Hm",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="vLLM",
        shows="reasoning as `reasoning_content` (before 0.11); only choice 0",
        date="2025-10-01",
        how="documented",
        source="https://docs.vllm.ai/en/v0.10.0/features/reasoning_outputs.html",
        body=events(
            delta({"reasoning_content": "Hm"}),
            {
                "model": "m",
                "choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}],
            },
            delta({"content": "Yes"}),
            delta({}, "stop"),
            {"model": "m", "choices": None, "usage": PLAIN},
        ),
        text="Yes",
        reasoning="Hm",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="vLLM",
        shows="an error within the stream, then [DONE]",
        date="2026-11-29",
        how="documented",
        source="https://github.com/vllm-project/vllm create_streaming_error_response (00bd149)",
        body=events(
            delta(ROLE),
            delta({"content": "half"}),
            {
                "error": {
                    "message": "EngineCore died",
                    "type": "InternalServerError",
                    "param": None,
                    "code": 500,
                }
            },
        ),
        text="half",
        finish=None,
        fault=Kind.SERVER,
    ),
    Shape(
        server="vLLM",
        shows="an error within the stream as older versions put it",
        date="2024-06-21",
        how="recorded",
        source="https://github.com/vllm-project/vllm/issues/4667",
        body=events(
            {
                "object": "error",
                "message": "max_tokens must be at least 1, got -186.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        finish=None,
        fault=Kind.CONTEXT,
    ),
    Shape(
        server="llama.cpp",
        shows="role without content, cut at the limit, usage with timings",
        date="2026-11-30",
        how="run",
        source="xllamacpp 2026.10.11549 (PyPI)",
        body=events(
            {
                "choices": [
                    {"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}
                ],
                "model": "tiny.gguf",
                "system_fingerprint": "b0-unknown",
                "object": "chat.completion.chunk",
            },
            {
                "choices": [{"finish_reason": None, "index": 0, "delta": {"content": "[$"}}],
                "model": "tiny.gguf",
            },
            {"choices": [{"finish_reason": "length", "index": 0, "delta": {}}], "model": "tiny.gguf"},
            {
                "choices": [],
                "model": "tiny.gguf",
                "usage": {
                    "completion_tokens": 4,
                    "prompt_tokens": 22,
                    "total_tokens": 26,
                    "prompt_tokens_details": {"cached_tokens": 0},
                },
                "timings": {"cache_n": 0, "prompt_n": 22},
            },
        ),
        text="[$",
        finish="length",
        usage=Usage(input_tokens=22, output_tokens=4, total_tokens=26, cached_input_tokens=0),
    ),
    Shape(
        server="Ollama",
        shows="reasoning as `reasoning`, an end of its own, usage without choices",
        date="2026-08-21",
        how="documented",
        source="https://github.com/ollama/ollama/blob/fb30760/openai/openai.go",
        body=events(
            delta({"role": "assistant", "content": "", "reasoning": "Hm"}, system_fingerprint="fp_ollama"),
            delta({"content": "Yes"}),
            delta({}, "stop"),
            only(usage=PLAIN),
        ),
        text="Yes",
        reasoning="Hm",
        usage=PLAIN_USAGE,
    ),
    Shape(
        server="Ollama",
        shows="a whole tool call at once",
        date="2026-08-21",
        how="documented",
        source="https://github.com/ollama/ollama/blob/fb30760/openai/openai.go",
        body=events(
            delta(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [piece(0, '{"city":"Seoul"}', id="call_x", name="weather")],
                }
            ),
            delta({}, "tool_calls"),
        ),
        calls=(("call_x", "weather", '{"city":"Seoul"}'),),
        finish="tool_calls",
    ),
    Shape(
        server="Ollama",
        shows="a fault in the middle: the stream just ends",
        date="2026-08-21",
        how="documented",
        source="https://github.com/ollama/ollama/blob/fb30760/middleware/openai.go",
        body=events(delta({"role": "assistant", "content": "half"}), delta({"content": ""}), done=False),
        text="half",
        finish=None,
    ),
]

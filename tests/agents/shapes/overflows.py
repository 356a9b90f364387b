"""How servers say that a conversation is too long: (server, status, text, asked, window).

Beside what `refusals_of_*.py` have whole, as a client of many of them lists them:
https://github.com/earendil-works/pi, packages/ai/src/utils/overflow.ts (2026).
"""

OVERFLOWS: list[tuple[str, int, str, int | None, int | None]] = [
    ("OpenAI, newer", 400, "Your input exceeds the context window of this model", None, None),
    (
        "OpenRouter",
        400,
        "This endpoint's maximum context length is 163840 tokens. However, you requested about 170000 tokens "
        "(160000 of text input, 10000 in the output).",
        160000,
        163840,
    ),
    (
        "Mistral",
        400,
        "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
        300000,
        131072,
    ),
    (
        "xAI",
        400,
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
        537812,
        131072,
    ),
    (
        "SGLang, Together",
        400,
        "The input (516368 tokens) is longer than the model's context length (262144 tokens).",
        516368,
        262144,
    ),
    (
        "SGLang",
        400,
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a "
        "total of 5000 tokens: 4500 tokens from the input messages and 500 tokens for the completion.",
        4500,
        4096,
    ),
    ("Anthropic", 400, "prompt is too long: 213462 tokens > 200000 maximum", 213462, 200000),
    ("Kimi", 400, "Your request exceeded model token limit: 262144 (requested: 291351)", 291351, 262144),
    ("DashScope", 400, "Range of input length should be [1, 129024]", None, 129024),
    (
        "TGI",
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` "
        "tokens and 512 `max_new_tokens`",
        4000,
        4096,
    ),
    (
        "Poolside",
        400,
        "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
        131393,
        131040,
    ),
    (
        "vLLM",
        400,
        "Input length (265330) exceeds model's maximum context length (262144).",
        265330,
        262144,
    ),
    (
        "DS4",
        400,
        "Prompt has 5,958,968 tokens, but the configured context size is 256,000 tokens",
        5958968,
        256000,
    ),
    ("Copilot", 400, "prompt token count of 5000 exceeds the limit of 4096", 5000, 4096),
    ("MiniMax", 400, "invalid params, context window exceeds limit", None, None),
    ("z.ai", 400, '{"error": {"code": "1261", "message": "Prompt too long"}}', None, None),
    ("Bedrock", 400, "Input is too long for requested model.", None, None),
    (
        "llama.cpp",
        500,
        '{"error": {"code": 500, "message": "Context size has been exceeded."}}',
        None,
        None,
    ),
    ("a proxy", 413, "<h1>413 Request Entity Too Large</h1>", None, None),
    ("Cerebras", 400, "", None, None),
]

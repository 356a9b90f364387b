"""Refusals, before a stream."""

import json

from events.agents.faults import Kind
from tests.agents.shapes.refusal import Refused, error

LITELLM_END = "\n\nLiteLLM: model group 'tiny' failed with the error above. No fallback was attempted."
TOO_MANY = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
    "Please reduce the length of the messages."
)
RATE = (
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, "
)
TURNS = "Conversation roles must alternate user/assistant/user/assistant/..."


ERRORS = [
    Refused(
        server="OpenAI",
        shows="too long",
        date="2023-03-20",
        how="recorded",
        status=400,
        kind=Kind.CONTEXT,
        source="https://github.com/chathub-dev/chathub/issues/126",
        asked=9001,
        window=8192,
        body=error(TOO_MANY, type="invalid_request_error", param="messages", code="context_length_exceeded"),
    ),
    Refused(
        server="OpenAI",
        shows="a rate that names its wait",
        date="2024-06-13",
        how="recorded",
        status=429,
        source="https://github.com/vanna-ai/vanna-flask/issues/11",
        kind=Kind.RATE_LIMIT,
        wait=1.898,
        body=error(
            RATE + "Requested 2000. Please try again in 1.898s.", type="tokens", code="rate_limit_exceeded"
        ),
    ),
    Refused(
        server="OpenAI",
        shows="more than a minute's tokens at once",
        date="2024-06-13",
        how="recorded",
        status=429,
        source="https://github.com/vanna-ai/vanna-flask/issues/11",
        kind=Kind.CONTEXT,
        asked=342389,
        window=30000,
        body=error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. "
            "The input or "
            "output tokens must be reduced in order to run successfully.",
            type="tokens",
            param=None,
            code="rate_limit_exceeded",
        ),
    ),
    Refused(
        server="OpenAI",
        shows="quota",
        date="2026-11-29",
        how="documented",
        status=429,
        kind=Kind.QUOTA,
        source="https://platform.openai.com/docs/guides/error-codes",
        body=error(
            "You exceeded your current quota, please check your plan and billing details.",
            type="insufficient_quota",
            param=None,
            code="insufficient_quota",
        ),
    ),
    Refused(
        server="OpenAI",
        shows="a reasoning model's limit",
        date="2026-08-22",
        how="recorded",
        status=400,
        source="https://github.com/vercel/ai/tree/ed857f5/packages/openai/src/chat/__fixtures__/"
        "reasoning-model-legacy-parameter-error.json",
        kind=Kind.MAX_TOKENS,
        body=error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' "
            "instead.",
            type="invalid_request_error",
            param="max_tokens",
            code="unsupported_parameter",
        ),
    ),
    Refused(
        server="Azure",
        shows="a question that the filter stopped",
        date="2026-11-29",
        how="documented",
        status=400,
        source="https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter",
        kind=Kind.FILTERED,
        body=error(
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy.",
            type=None,
            param="prompt",
            code="content_filter",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    Refused(
        server="vLLM",
        shows="too long",
        date="2025-07-03",
        how="recorded",
        status=400,
        kind=Kind.CONTEXT,
        source="https://github.com/vllm-project/vllm/issues/20409",
        asked=112946,
        window=16384,
        body=json.dumps(
            {
                "object": "error",
                "message": (
                    "This model's maximum context length is 16384 tokens. However, you requested 122946 "
                    "tokens (112946 in "
                    "the messages, 10000 in the completion). Please reduce the length of the messages or "
                    "completion."
                ),
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        ).encode(),
    ),
    Refused(
        server="vLLM",
        shows="no room for an answer",
        date="2024-06-21",
        how="recorded",
        status=400,
        source="https://github.com/vllm-project/vllm/issues/4667",
        kind=Kind.CONTEXT,
        body=error("max_tokens must be at least 1, got -186.", type="BadRequestError", code=400),
    ),
    Refused(
        server="vLLM",
        shows="a template that wants turns",
        date="2026-11-29",
        how="documented",
        status=400,
        source="https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.3 chat_template",
        kind=Kind.TURNS,
        body=error(f"{TURNS} None", type="BadRequestError", param=None, code=400),
    ),
    Refused(
        server="llama.cpp",
        shows="too long",
        date="2026-11-30",
        how="run",
        status=400,
        kind=Kind.CONTEXT,
        source="xllamacpp 2026.10.11549 (PyPI)",
        asked=920,
        window=512,
        body=error(
            "request (920 tokens) exceeds the available context size (512 tokens), try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=920,
            n_ctx=512,
        ),
    ),
    Refused(
        server="llama.cpp",
        shows="a template that wants turns",
        date="2026-11-30",
        how="run",
        status=400,
        source="xllamacpp 2026.10.11549 (PyPI)",
        kind=Kind.TURNS,
        body=error(
            "Unable to generate parser for this template. Automatic parser generation failed: "
            "\n------------\n"
            "While executing CallExpression at line 1, column 226 in source:\n...op.index0 % 2 == 0) %}"
            "{{ raise_exception('Conversation roles must alternate user...\n      ^\n"
            f"Error: Jinja Exception: {TURNS}",
            code=400,
            type="invalid_request_error",
        ),
    ),
    Refused(
        server="Ollama",
        shows="too long, where it is told not to cut",
        date="2026-08-21",
        how="documented",
        status=400,
        source="https://github.com/ollama/ollama/blob/fb30760/llm/llama_server.go",
        kind=Kind.CONTEXT,
        body=error("the input length exceeds the context length", type="invalid_request_error"),
    ),
    Refused(
        server="LiteLLM",
        shows="too long, in the text alone",
        date="2026-11-30",
        how="run",
        status=400,
        source="litellm[proxy] 1.108.7 (PyPI)",
        kind=Kind.CONTEXT,
        asked=9001,
        window=8192,
        body=error(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: "
            f"OpenAIException - {TOO_MANY}\nmodel=tiny. context_window_fallbacks=None. fallbacks=None."
            + LITELLM_END,
            type="invalid_request_error",
            param=None,
            code="400",
        ),
    ),
    Refused(
        server="LiteLLM",
        shows="a rate",
        date="2026-11-30",
        how="run",
        status=429,
        kind=Kind.RATE_LIMIT,
        source="litellm[proxy] 1.108.7 (PyPI)",
        body=error(
            "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached for tiny"
            + LITELLM_END,
            type="throttling_error",
            param=None,
            code="429",
        ),
    ),
    Refused(
        server="LiteLLM",
        shows="quota, told from a rate by its text alone",
        date="2026-11-30",
        how="run",
        status=429,
        source="litellm[proxy] 1.108.7 (PyPI)",
        kind=Kind.QUOTA,
        body=error(
            "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current "
            "quota, please "
            f"check your plan and billing details.{LITELLM_END}",
            type="throttling_error",
            param=None,
            code="429",
        ),
    ),
    Refused(
        server="LiteLLM",
        shows="a key",
        date="2026-11-30",
        how="run",
        status=401,
        kind=Kind.UNAUTHORIZED,
        source="litellm[proxy] 1.108.7 (PyPI)",
        body=error(
            "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided"
            + LITELLM_END,
            type="authentication_error",
            param=None,
            code="401",
        ),
    ),
    Refused(
        server="LiteLLM",
        shows="all deployments in cooldown",
        date="2026-11-30",
        how="run",
        status=429,
        source="litellm[proxy] 1.108.7 (PyPI)",
        kind=Kind.RATE_LIMIT,
        wait=5.0,
        body=error(
            "No deployments available for selected model, Try again in 5 seconds. All deployments "
            "for selected "
            "model are in cooldown. Passed model=tiny.",
            type="all_deployments_in_cooldown",
            param=None,
            code="429",
        ),
    ),
]

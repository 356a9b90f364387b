"""Refusals, before a stream."""

import json

from events.agents.faults import Kind
from tests.agents.shapes.refusal import Refused, error, forbidden

TURNS = "Conversation roles must alternate user/assistant/user/assistant/..."


ERRORS = [
    Refused(
        server="OpenRouter",
        shows="too long, within a provider's error",
        date="2026-08-12",
        how="recorded",
        status=400,
        source="https://github.com/cline/cline/issues/13194",
        kind=Kind.CONTEXT,
        asked=262897,
        window=262144,
        body=error(
            "Provider returned error",
            code=400,
            metadata={
                "provider_name": "Nvidia",
                "raw": error(
                    "This model's maximum context length is 262144 tokens. However, your messages resulted "
                    "in 262897 tokens. Please reduce the length of the messages.",
                    type="Bad Request",
                    code=400,
                ).decode(),
            },
        ),
    ),
    Refused(
        server="OpenRouter",
        shows="credits",
        date="2026-11-29",
        how="documented",
        status=402,
        kind=Kind.QUOTA,
        source="https://openrouter.ai/docs/api/reference/errors-and-debugging",
        body=error("Your account or API key has insufficient credits.", code=402),
    ),
    Refused(
        server="OpenRouter",
        shows="a question that was flagged",
        date="2026-11-29",
        how="documented",
        status=403,
        source="https://openrouter.ai/docs/api/reference/errors-and-debugging",
        kind=Kind.FILTERED,
        body=error(
            "Your chosen model requires moderation and your input was flagged",
            code=403,
            metadata={"reasons": ["violence"], "flagged_input": "…", "provider_name": "p"},
        ),
    ),
    Refused(
        server="Groq",
        shows="more than a minute's tokens at once",
        date="2026-05-16",
        how="recorded",
        status=413,
        source="https://github.com/HunorLaczko/ha-groq-cloud-api/issues/27",
        kind=Kind.CONTEXT,
        asked=12328,
        window=6000,
        body=error(
            "Request too large for model `llama-3.1-8b-instant` in organization `org_x` service "
            "tier `on_demand` "
            "on tokens per minute (TPM): Limit 6000, Requested 12328, please reduce your message "
            "size and try "
            "again. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
            type="tokens",
            code="rate_limit_exceeded",
        ),
    ),
    Refused(
        server="Groq",
        shows="a day's rate, with a wait in minutes",
        date="2026-02-28",
        how="recorded",
        status=429,
        source="https://github.com/continuedev/continue/issues/10920",
        kind=Kind.RATE_LIMIT,
        wait=578.016,
        body=error(
            "Rate limit reached for model `llama-3.3-70b-versatile` on tokens per day (TPD): "
            "Limit 100000, Used "
            "97050, Requested 3619. Please try again in 9m38.016s. Need more tokens? Upgrade to "
            "Dev Tier today at "
            "https://console.groq.com/settings/billing",
            type="tokens",
            code="rate_limit_exceeded",
        ),
    ),
    Refused(
        server="DeepSeek",
        shows="balance",
        date="2026-11-29",
        how="documented",
        status=402,
        kind=Kind.QUOTA,
        source="https://api-docs.deepseek.com/quick_start/error_codes",
        body=error("Insufficient Balance", type="unknown_error", param=None, code="invalid_request_error"),
    ),
    Refused(
        server="Mistral",
        shows="`stream_options`",
        date="2025-03-14",
        how="recorded",
        status=422,
        source="https://github.com/dnakov/anon-kode/issues/53",
        kind=Kind.STREAM_OPTIONS,
        body=forbidden("stream_options", "include_usage"),
    ),
    Refused(
        server="Mistral",
        shows="another field that it does not know",
        date="2024-04-18",
        how="recorded",
        status=422,
        source="https://github.com/Gage-Technologies/mistral-go/issues/3",
        kind=Kind.OTHER,
        body=forbidden("messages", "0", "user", "name"),
    ),
    Refused(
        server="Gemini",
        shows="too long, in a list",
        date="2025-11-13",
        how="recorded",
        status=400,
        source="https://github.com/google-gemini/gemini-cli/issues/13006",
        kind=Kind.CONTEXT,
        asked=1054016,
        window=1048576,
        body=json.dumps(
            [
                {
                    "error": {
                        "code": 400,
                        "status": "INVALID_ARGUMENT",
                        "message": (
                            "The input token count (1054016) exceeds the maximum number of tokens allowed "
                            "(1048576)."
                        ),
                    }
                }
            ],
            indent=2,
        ).encode(),
    ),
    Refused(
        server="Gemini",
        shows="a minute's quota, which comes back",
        date="2026-08-22",
        how="recorded",
        status=429,
        source="https://github.com/vercel/ai/tree/ed857f5/packages/google/src/__fixtures__/"
        "google-429-retry-info.json",
        kind=Kind.RATE_LIMIT,
        wait=34.4,
        body=json.dumps(
            [
                {
                    "error": {
                        "code": 429,
                        "message": "You exceeded your current quota, please check your plan.",
                        "status": "RESOURCE_EXHAUSTED",
                        "details": [
                            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
                        ],
                    }
                }
            ],
            indent=2,
        ).encode(),
    ),
    Refused(
        server="Perplexity",
        shows="turns",
        date="2026-04-01",
        how="recorded",
        status=400,
        kind=Kind.TURNS,
        source="https://github.com/bieniu/ha-perplexity/issues/117",
        body=error(
            "After the (optional) system message(s), user or tool message(s) should alternate with assistant "
            "message(s).",
            type="invalid_message",
            code=400,
        ),
    ),
    Refused(
        server="Perplexity",
        shows="turns, as it said before",
        date="2025-04-01",
        how="recorded",
        status=400,
        source="https://github.com/perplexityai/api-discussion/issues/265",
        kind=Kind.TURNS,
        body=error(
            "After the (optional) system message(s), user and assistant roles should be alternating.",
            type="invalid_message",
            code=400,
        ),
    ),
]

"""Tokens, as OpenAI's two APIs name them."""

from typing import Any

Counts = dict[str, Any]


def _counts(usage: Counts | None, tokens_used: int | None) -> tuple[int, int, int]:
    """(input, output, total); what is not known is nothing, or the rest of what is."""
    usage = usage or {}
    given, output = usage.get("input_tokens") or 0, usage.get("output_tokens")
    total = usage.get("total_tokens")
    if total is None:
        total = given + output if output is not None else tokens_used or given
    return given, max(0, total - given) if output is None else output, total


def of_completion(usage: Counts | None, tokens_used: int | None) -> Counts:
    prompt, completion, total = _counts(usage, tokens_used)
    usage = usage or {}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_input_tokens") or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens") or 0},
    }


def of_response(usage: Counts | None, tokens_used: int | None) -> Counts:
    given, output, total = _counts(usage, tokens_used)
    usage = usage or {}
    cached = {
        "cached_tokens": usage.get("cached_input_tokens") or 0,
        "cache_write_tokens": usage.get("cache_write_input_tokens") or 0,
    }
    return {
        "input_tokens": given,
        "input_tokens_details": cached,
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens") or 0},
        "total_tokens": total,
    }

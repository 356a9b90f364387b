"""Reads an upstream's account of tokens, in each of its spellings. A wrong account fails no answer."""

from collections.abc import Iterator
from typing import Any

import msgspec

from events.schema import Usage

#: The largest integer that a client counts exactly (RFC 8259, section 6) and every database keeps.
MOST_TOKENS = 2**53 - 1

#: Names of each count: at the top of the account, or within one of its details.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_REASONING = ("reasoning_tokens",)
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


def usage_of(*accounts: msgspec.Raw) -> Usage | None:
    """The first of the accounts that has a count."""
    for raw in accounts:
        try:
            account = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            continue  # a number out of all range
        if isinstance(account, dict):
            usage = _usage(account)
            if usage != Usage():
                return usage
    return None


def _usage(account: dict[str, Any]) -> Usage:
    given, made = _count(account, _INPUT), _count(account, _OUTPUT)
    total = _count(account, ("total_tokens",))
    if total is None and given is not None and made is not None:
        total = min(given + made, MOST_TOKENS)
    asked, answered = _within(account, _DETAILS), _within(account, _OUTPUT_DETAILS)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total,
        reasoning_tokens=_first(_count(part, _REASONING) for part in (answered, account)),
        cached_input_tokens=_first(_count(part, _CACHED) for part in (asked, account)),
        cache_write_input_tokens=_first(_count(part, _WRITTEN) for part in (asked, account)),
    )


def _within(account: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return next((part for name in names if isinstance(part := account.get(name), dict)), {})


def _first(counts: Iterator[int | None]) -> int | None:
    return next((count for count in counts if count is not None), None)


def _count(account: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        count = account.get(name)
        if not isinstance(count, bool) and isinstance(count, int | float) and count >= 0:
            return int(min(count, MOST_TOKENS))
    return None

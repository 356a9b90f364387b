"""An identity is a role and a `sub`; its key is the one string that stands for both, wherever people are
compared: rows, channels, buckets, paths. Nothing here folds case or normal forms: two texts are two people.
"""

import re
from typing import Literal

from events.errors import ValidationFailed

Role = Literal["user", "agent", "service"]

#: Characters of a `sub` and of a key: as many as the columns hold.
LENGTH = 255
#: The largest id of an agent: its column is a 32-bit integer.
LAST_AGENT = 2**31 - 1
_AGENT_ID = re.compile(r"[1-9][0-9]{0,9}")
_PREFIXES = ("user:", "agent:", "service:")
_LONGEST = max(map(len, _PREFIXES))


def key_of(role: str, sub: str) -> str:
    """User 1 is "1", agent 1 is "agent:1", and a user whose `sub` is "agent:1" is "user:agent:1"."""
    if role != "user":
        return f"{role}:{sub}"
    return f"user:{sub}" if sub.startswith(_PREFIXES) else sub


def agent_id(sub: str) -> int | None:
    """The id that an agent's `sub` is: ASCII digits as an integer is written, so that no two texts are one
    agent. None for all others."""
    if _AGENT_ID.fullmatch(sub) is None:
        return None
    number = int(sub)
    return number if number <= LAST_AGENT else None


def fault_of(role: str, sub: object) -> str | None:
    """Why a `sub` cannot be an identity of this role; None if it can."""
    if not isinstance(sub, str) or not sub or len(sub) > LENGTH or "\0" in sub:
        return f"is not a text of 1 to {LENGTH} characters"
    if role == "agent" and agent_id(sub) is None:
        return f"is not an agent's id, a number of 1 to {LAST_AGENT} in ASCII digits"
    if len(sub) > LENGTH - _LONGEST and len(key_of(role, sub)) > LENGTH:
        return f"is longer than {LENGTH} characters with its role"
    return None


def identity_of(user_id: str, role: Role | None = None) -> tuple[Role, str]:
    """The key of a `user_id` that a caller of the API gives: a key, or, together with a `role`, the `sub`
    alone.

    Raises ValidationFailed for a text that is no identity, and for a key of another role.
    """
    given, colon, sub = user_id.partition(":")
    named: Role
    if colon and given + colon in _PREFIXES:
        named = given  # type: ignore[assignment]
        if role is not None and role != named:
            raise ValidationFailed(f"names another role than {role}", field="user_id")
    else:
        named, sub = role or "user", user_id
    fault = fault_of(named, sub)
    if fault is not None:
        raise ValidationFailed(fault, field="user_id")
    return named, sub


def canonical(user_id: str, role: Role | None = None) -> str:
    """The key of whom `user_id` means. Raises ValidationFailed."""
    return key_of(*identity_of(user_id, role))

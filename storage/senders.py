"""The one string per identity that rows of people are keyed by, and the sender it stands for in messages."""

_TYPES = {"agent": "agent", "service": "system", "user": "user"}


def sender_of(key: str) -> tuple[str, str]:
    """(sender_type, sender_id) of a caller's key: "agent:7", "service:x", and all else is a user's."""
    role, colon, sub = key.partition(":")
    if colon and role in _TYPES:
        return _TYPES[role], sub
    return "user", key

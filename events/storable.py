"""What no database takes, left out: NUL, lone surrogates, whole numbers past 64 bits."""

from typing import Any

#: Whole numbers of which JSON columns and other readers keep every digit.
_WHOLE = range(-(2**63), 2**64)
#: What no number of JavaScript's, nor a double of ours, can be.
_BEYOND = 10**308


def storable(value: Any) -> Any:
    """JSON as it can be stored."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "")
    if isinstance(value, list):
        return [storable(each) for each in value]
    if isinstance(value, dict):
        return {storable(name): storable(each) for name, each in value.items()}
    if type(value) is int and value not in _WHOLE:
        return float(value) if abs(value) < _BEYOND else None
    return value

"""What is wrong with a payload, in the contract's words. Knows msgspec's messages, and no schema."""

import re
from collections.abc import Callable

import msgspec

from events.errors import ValidationFailed

_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
    "datetime": "a time",
}
_PARTS = {"str": "characters", "array": "entries", "object": "fields"}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}

#: The beginning of a message of msgspec's (0.19 to 0.21), and ours.
_KINDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"Object missing required field"), lambda m: "is required"),
    (re.compile(r"Object contains unknown field"), lambda m: "is not a field of this command"),
    (
        re.compile(r"Expected `(\w+)` of length (>=|<=) (\d+)"),
        lambda m: f"must have {_BOUNDS[m[2]]} {m[3]} {_PARTS.get(m[1], 'bytes')}",
    ),
    (
        re.compile(r"Expected `array` of (at least |at most )?length (\d+)( to \d+)?"),
        lambda m: f"must have {m[1] or ''}{m[2]}{m[3] or ''} entries",
    ),
    (re.compile(r"Expected `\w+` (>=|<=|>|<) (\S+)"), lambda m: f"must be {_BOUNDS[m[1]]} {m[2]}"),
    (re.compile(r"Expected `\w+` that's a multiple of (\S+)"), lambda m: f"must be a multiple of {m[1]}"),
    # Addresses: their patterns begin with the scheme, and a client is told no pattern.
    (
        re.compile(r"Expected `str` matching regex '\^(\[Hh\]|https\?)"),
        lambda m: "must be an address that begins with http:// or https://",
    ),
    (re.compile(r"Expected `str` matching regex (.+)"), lambda m: f"must match the pattern {m[1]}"),
    (
        re.compile(r"Expected `([^`]+)`, got `([^`]+)`"),
        lambda m: f"must be {_named(m[1])}, not {_named(m[2])}",
    ),
    (re.compile(r"Expected `([^`]+)`"), lambda m: f"must be {_named(m[1])}"),
    (re.compile(r"Invalid (enum )?value '"), lambda m: "is not one of the accepted values"),
    (re.compile(r"Invalid RFC3339"), lambda m: "must be a time such as 2026-01-31T12:00:00Z"),
    (re.compile(r"Integer value out of range"), lambda m: "is out of range"),
)


def invalid(error: msgspec.ValidationError, within: str = "") -> ValidationFailed:
    """What a client is told of a payload that does not fit; `within` is the field that was converted."""
    told, _, path = str(error).partition(" - at `$")
    fields = [within, path.strip("`.")]
    if named := re.match(r"Object (?:missing required|contains unknown) field `([^`]*)`", told):
        fields.append(named[1])
    field = ".".join(filter(None, fields)).replace(".[", "[")
    for kind, words in _KINDS:
        if match := kind.match(told):
            return ValidationFailed(words(match), field=field or "the payload", joint=" ")
    return ValidationFailed(told, field=field)  # said by our own code


def _named(types: str) -> str:
    return " or ".join(_TYPES.get(each, f"a {each}") for each in types.split(" | "))

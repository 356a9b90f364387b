"""What something is called, as others are shown it: one line that turns nothing around it. Knows nobody."""

import re

#: Control characters, ends of lines, and what writes the text behind it the other way round.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def label(given: str, most: int) -> str | None:
    """At most so many characters; None where nothing would be seen."""
    shown = given[: 2 * most]
    shown = shown if shown.isprintable() else _UNSHOWN.sub(" ", shown)
    return shown[:most] if shown.strip() else None

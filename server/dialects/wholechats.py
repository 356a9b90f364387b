"""Requests that bring all of a page's messages along, of which the last count. Knows no dialect."""

from typing import Annotated

from msgspec import Meta, Raw

from events.errors import ValidationFailed
from events.outline import commas

#: Values of a request, about, and messages: each costs time on the loop, however short it is.
VALUES, MESSAGES = 160 * 1024, 2000
AllMessages = Annotated[list[Raw], Meta(max_length=MESSAGES)]


def check_values(body: bytes) -> None:
    """Before anything is built of it. Raises ValidationFailed."""
    if commas(body) > VALUES:
        raise ValidationFailed(f"at most {VALUES} values; the last message alone is enough", field="messages")

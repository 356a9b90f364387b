"""What makes a request's repeat the same question. Knows no dialect."""

from events.errors import ValidationFailed


def key_in(header: str | None) -> str | None:
    """What makes a call's repeat the same question. Raises ValidationFailed."""
    if header and ("\0" in header or len(header) > 255):
        raise ValidationFailed("at most 255 characters", field="Idempotency-Key")
    return header or None

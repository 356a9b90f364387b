"""Every failure in one shape: what the server answered, and what the network did."""

from collections.abc import Mapping
from typing import Any

#: A JSON object.
Json = dict[str, Any]


class ParleyError(Exception):
    """`code` is the server's, `UNAVAILABLE` for what the network did, `CANCELLED` for what was taken back, or
    `CLOSED` after `close`. `retry_after` is in milliseconds; it, `details` and `next_index` are None where
    the server did not say them."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        retryable: bool = False,
        retry_after: int | None = None,
        details: Any = None,
        next_index: int | None = None,
        **_: Any,
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code, self.message, self.retryable = code, message or code, retryable
        self.retry_after, self.details, self.next_index = retry_after, details, next_index

    def pause(self, otherwise: float) -> float:
        """Seconds until a repeat."""
        return otherwise if self.retry_after is None else self.retry_after / 1000


def as_error(thing: object = None) -> ParleyError:
    """Anything that was raised or answered. What is not the server's own passes by itself."""
    if isinstance(thing, ParleyError):
        return thing
    if isinstance(thing, Mapping) and "code" in thing and "retryable" in thing:
        return ParleyError(**{str(name): value for name, value in thing.items()})
    said = str(thing) if thing is not None else ""
    return ParleyError("UNAVAILABLE", said or "The server cannot be reached", retryable=True)


def closed() -> ParleyError:
    """What comes of everything after `close`."""
    return ParleyError("CLOSED")


def unwrap(reply: Any) -> Json:
    """A reply that is `ok`, or its error raised."""
    if not isinstance(reply, dict) or not reply.get("ok"):
        raise as_error(reply.get("error") if isinstance(reply, dict) else None)
    return reply

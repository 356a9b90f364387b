"""What a request brings, read strictly: its body, its query, the ids in its path; and whose app it is for."""

from functools import cache
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from events.errors import PayloadTooLarge, ValidationFailed
from events.held import SMALL
from events.identity import canonical
from events.outline import Nested
from events.schema import SessionId
from events.wording import invalid
from server.engine.answers import protocol_of
from server.engine.packets import loads
from server.services import Services

S = TypeVar("S", bound=msgspec.Struct)


def services_of(request: Request) -> Services:
    return request.app.state.services  # type: ignore[no-any-return]


async def body_of(request: Request, limit: int | None = None) -> dict[str, Any]:
    """A strict JSON object, at most `limit` bytes; an empty body is `{}`.

    Raises PayloadTooLarge, ValidationFailed.
    """
    data = await bytes_of(request, limit)
    if not data:
        return {}
    try:
        value = loads(data)
    except Nested as error:
        raise ValidationFailed(str(error)) from error
    except ValueError as error:
        raise ValidationFailed("not strict JSON") from error
    if not isinstance(value, dict):
        raise ValidationFailed("the body must be one JSON object")
    return value


async def bytes_of(request: Request, limit: int | None = None) -> bytes:
    """A body as it came, at most `limit` bytes. Raises PayloadTooLarge, ValidationFailed."""
    most = limit or services_of(request).settings.ws_message_size_limit
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else 0
    data, held = bytearray(), 0
    http = protocol_of(request.scope)
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > most:
                raise PayloadTooLarge.beyond(most, max(size, len(data)))
            if len(data) > SMALL and http is not None:  # the rest of it may come slowly
                http.holds(len(data) - held)
                held = len(data)
    except ClientDisconnect as error:
        raise ValidationFailed("the body is cut off") from error
    finally:
        if held and http is not None:
            http.holds(-held)
    return bytes(data)


def struct_of(kind: type[S], value: dict[str, Any], *, strict: bool = True) -> S:
    """`strict=False` for query parameters, which are strings. Raises ValidationFailed."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


def query_of(kind: type[S], request: Request, **more: Any) -> S:
    for name in _without_null(kind):
        if request.query_params.get(name, "").lower() == "null":
            raise ValidationFailed("leave it out instead", field=name)
    return struct_of(kind, {**clean(dict(request.query_params)), **more}, strict=False)


@cache
def _without_null(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Parameters that may be left out. In a query one is there or not: the word "null" is no value."""
    return tuple(field.encode_name for field in msgspec.structs.fields(kind) if field.default is None)


def clean(values: dict[str, str]) -> dict[str, str]:
    """Values of a query or a path that a database can hold. Raises ValidationFailed."""
    for name, value in values.items():
        if "\0" in value or "\0" in name:
            raise ValidationFailed("no NUL", field=name[:50])
    return values


def user_id_of(request: Request) -> str:
    """The key of whom the path names. Raises ValidationFailed."""
    return canonical(request.path_params["user_id"])


def session_id_of(request: Request) -> str:
    """Raises ValidationFailed."""
    value: str = request.path_params["session_id"]
    try:
        clean({"session_id": value})
        return msgspec.convert(value, SessionId)
    except msgspec.ValidationError as error:
        raise invalid(error, "session_id") from error

"""What every REST route needs: the caller, a strict body, and errors as the contract has them."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.errors import OriginNotAllowed, PayloadTooLarge, Unauthorized, ValidationFailed
from events.event import to_json
from events.schema import SessionId
from server import peer
from server.engine.packets import loads
from server.errors import json_error
from server.services import Services

S = TypeVar("S", bound=msgspec.Struct)
Handler = Callable[[Request], Awaitable[Response]]
#: A route that answers by itself once it has begun.
Raw = Callable[[Request, Receive, Send], Awaitable[None]]


def services_of(request: Request) -> Services:
    return request.app.state.services  # type: ignore[no-any-return]


def reply(body: Any, status: int = 200) -> Response:
    return Response(to_json(body), status_code=status, media_type="application/json")


def endpoint(handler: Handler) -> Handler:
    """Origin checked, errors shaped; an unexpected one is logged and told as INTERNAL."""

    async def guarded(request: Request) -> Response:
        try:
            check_origin(request)
            clean(request.path_params)
            return await handler(request)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
            return json_error(services_of(request).dispatcher.error_of(failure, request.url.path))

    return guarded


class RawEndpoint:
    """An ASGI route that streams: errors are shaped as long as nothing was sent."""

    def __init__(self, handler: Raw) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        started = False

        async def sending(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            check_origin(request)
            clean(request.path_params)
            await self._handler(request, receive, sending)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
            error = services_of(request).dispatcher.error_of(failure, request.url.path)
            if not started:
                await json_error(error)(scope, receive, send)


def check_origin(request: Request) -> None:
    """Raises OriginNotAllowed."""
    origin = request.headers.get("origin")
    if not services_of(request).origins.allowed(origin, peer.own_port(request.scope)):
        raise OriginNotAllowed


async def caller_of(request: Request) -> Caller:
    """Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable."""
    services = services_of(request)
    found = peer.request_token(request.scope)
    if found is None:
        raise Unauthorized
    token, source = found
    scope = request.scope
    address = peer.client_address(scope, services.settings)
    return await services.authenticate(token, request.headers.get("origin"), source == "query", address)


async def body_of(request: Request, limit: int | None = None) -> dict[str, Any]:
    """A strict JSON object, at most `limit` bytes; an empty body is `{}`.

    Raises PayloadTooLarge, ValidationFailed.
    """
    most = limit or services_of(request).settings.ws_message_size_limit
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise PayloadTooLarge(f"at most {most} bytes")
    if not data:
        return {}
    try:
        value = loads(bytes(data))
    except ValueError as error:
        raise ValidationFailed("not strict JSON") from error
    if not isinstance(value, dict):
        raise ValidationFailed("the body must be one JSON object")
    return value


def struct_of(kind: type[S], value: dict[str, Any], *, strict: bool = True) -> S:
    """`strict=False` for query parameters, which are strings. Raises ValidationFailed."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        field = path.strip("`.")
        if not field and problem.startswith("Object missing required field"):
            field = problem.split("`")[1]
        raise ValidationFailed(problem, field=field) from error


def query_of(kind: type[S], request: Request, **more: Any) -> S:
    for field in msgspec.structs.fields(kind):
        # In a query a parameter is there or not: the word "null" is no value.
        if field.default is None and request.query_params.get(field.encode_name, "").lower() == "null":
            raise ValidationFailed("leave it out instead", field=field.encode_name)
    return struct_of(kind, {**clean(dict(request.query_params)), **more}, strict=False)


def clean(values: dict[str, str]) -> dict[str, str]:
    """Values of a query or a path that a database can hold. Raises ValidationFailed."""
    for name, value in values.items():
        if "\0" in value or "\0" in name:
            raise ValidationFailed("no NUL", field=name[:50])
    return values


def session_id_of(request: Request) -> str:
    """Raises ValidationFailed."""
    value: str = request.path_params["session_id"]
    try:
        clean({"session_id": value})
        return msgspec.convert(value, SessionId)
    except msgspec.ValidationError as error:
        raise ValidationFailed(str(error), field="session_id") from error

"""`/api/server/…`: for backends with a `service` token (contract, section 9)."""

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from events.access import Caller
from events.errors import Forbidden, ValidationFailed
from events.schema import SessionId, UserId
from server.routes.common import body_of, call, caller_of, clean, query_of, reply, services_of, struct_of
from server.service import ServiceApi


class Publish(Struct, kw_only=True):
    """An event of the application's own, to a session's members or to a user's connections."""

    event: str
    data: dict[str, Any]
    session_id: SessionId | None = None
    user_id: UserId | None = None


class Disconnect(Struct, kw_only=True):
    """`revoke` also refuses the user's tokens that were issued up to now."""

    user_id: UserId
    revoke: bool = False


class Connections(Struct, kw_only=True):
    user_id: UserId | None = None
    session_id: SessionId | None = None


async def _service(request: Request) -> tuple[ServiceApi, Caller]:
    """Raises Forbidden for all others."""
    caller = await caller_of(request)
    if caller.role != "service":
        raise Forbidden("for services only")
    return services_of(request).extras["service"], caller


async def publish(request: Request) -> Response:
    api, caller = await _service(request)
    body = struct_of(Publish, await body_of(request))
    if (body.session_id is None) == (body.user_id is None):
        raise ValidationFailed("either session_id or user_id", field="session_id")
    await api.publish(caller, body.session_id, body.user_id, body.event, body.data)
    return reply({"published": True})


async def disconnect(request: Request) -> Response:
    api, _ = await _service(request)
    body = struct_of(Disconnect, await body_of(request))
    await api.disconnect(body.user_id, revoke=body.revoke)
    return reply({"user_id": body.user_id, "revoked": body.revoke})


async def stats(request: Request) -> Response:
    api, _ = await _service(request)
    return reply(await api.stats())


async def connections(request: Request) -> Response:
    api, _ = await _service(request)
    ask = query_of(Connections, request)
    found = await api.connections(ask.user_id, ask.session_id)
    return reply({"connections": found, "total": len(found)})


async def erase_user(request: Request) -> Response:
    api, _ = await _service(request)
    user_id: str = clean({"user_id": request.path_params["user_id"]})["user_id"]
    messages, files = await api.erase_user(user_id)
    return reply({"user_id": user_id, "messages": messages, "files": files})


ROUTES = [
    call("POST", "/api/server/publish", publish),
    call("POST", "/api/server/disconnect", disconnect),
    call("GET", "/api/server/stats", stats),
    call("GET", "/api/server/connections", connections),
    call("DELETE", "/api/server/users/{user_id:path}", erase_user),
]

"""`/api/server/…`: for backends with a `service` token (contract, section 9)."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from events.access import Caller
from events.errors import Forbidden, ValidationFailed
from events.identity import canonical, identity_of
from events.schema import SessionId, UserId
from server.routes.common import call, caller_of, features_of, perform, reply
from server.routes.reading import body_of, query_of, struct_of, user_id_of
from server.service import ServiceApi


class Publish(Struct, kw_only=True):
    """An event of the application's own, to a session's members or to a user's connections."""

    event: str
    data: dict[str, Any]
    session_id: SessionId | None = None
    user_id: UserId | None = None


class Disconnect(Struct, kw_only=True):
    """Ends all connections of an identity: a key such as `alice` or `agent:1`, or a `role` and its `sub`.

    `revoke` also refuses its tokens that were issued up to now.
    """

    user_id: UserId
    role: Literal["user", "agent", "service"] | None = None
    revoke: bool = False


class Connections(Struct, kw_only=True):
    user_id: UserId | None = None
    session_id: SessionId | None = None


class FeedbackList(Struct, kw_only=True):
    session_id: SessionId | None = None
    cursor: Annotated[str, Meta(max_length=40)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 100


async def _service(request: Request) -> tuple[ServiceApi, Caller]:
    """Raises Forbidden for all others."""
    caller = await caller_of(request)
    if caller.role != "service":
        raise Forbidden("for services only")
    return features_of(request).service, caller


async def _for_all(request: Request) -> ServiceApi:
    """For what is not about one session. Raises Forbidden, also where a token is for named sessions."""
    api, caller = await _service(request)
    _unrestricted(caller)
    return api


def _unrestricted(caller: Caller) -> None:
    if caller.sessions is not None:
        raise Forbidden("not with a token for named sessions")


async def publish(request: Request) -> Response:
    api, caller = await _service(request)
    body = struct_of(Publish, await body_of(request))
    if (body.session_id is None) == (body.user_id is None):
        raise ValidationFailed("either session_id or user_id", field="session_id")
    user_id = None
    if body.user_id is not None:
        _unrestricted(caller)
        user_id = canonical(body.user_id)
    await perform(request, api.publish, caller, body.session_id, user_id, body.event, body.data)
    return reply({"published": True})


async def disconnect(request: Request) -> Response:
    api = await _for_all(request)
    body = struct_of(Disconnect, await body_of(request))
    key = canonical(body.user_id, body.role)
    await perform(request, api.disconnect, key, revoke=body.revoke)
    return reply({"user_id": key, "revoked": body.revoke})


async def stats(request: Request) -> Response:
    api = await _for_all(request)
    return reply(await api.stats())


async def connections(request: Request) -> Response:
    api = await _for_all(request)
    ask = query_of(Connections, request)
    key = None if ask.user_id is None else canonical(ask.user_id)
    rows, total = await api.connections(key, ask.session_id)
    return reply({"connections": Raw(rows), "total": total})


async def feedback(request: Request) -> Response:
    api = await _for_all(request)
    ask = query_of(FeedbackList, request)
    return reply(await api.feedback.page(ask.session_id, ask.cursor, ask.limit))


async def erase_user(request: Request) -> Response:
    api = await _for_all(request)
    key = user_id_of(request)
    if identity_of(key)[0] != "user":
        raise ValidationFailed("a user's", field="user_id")
    messages, files = await perform(request, api.erase_user, key)
    return reply({"user_id": key, "messages": messages, "files": files})


ROUTES = [
    call("POST", "/api/server/publish", publish),
    call("POST", "/api/server/disconnect", disconnect),
    call("GET", "/api/server/stats", stats),
    call("GET", "/api/server/connections", connections),
    call("GET", "/api/server/feedback", feedback),
    call("DELETE", "/api/server/users/{user_id:path}", erase_user),
]

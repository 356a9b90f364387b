"""`/api/server/webhooks`: where events are sent to, for backends with a `service` token."""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from events.errors import Forbidden
from events.schema import SessionId
from events.webhooks.service import (
    ChangedWebhook,
    DeliveriesQuery,
    NewWebhook,
    ReplayWebhook,
    RotatedSecret,
    WebhookService,
)
from server.routes.common import call, caller_of, features_of, perform, reply
from server.routes.reading import body_of, clean, query_of, struct_of


class WebhooksQuery(Struct, kw_only=True):
    """Those of a session, or of all sessions."""

    session_id: SessionId | None = None


async def _service(request: Request) -> WebhookService:
    """Raises Forbidden for all others, also where a token is for named sessions."""
    caller = await caller_of(request)
    if caller.role != "service":
        raise Forbidden("for services only")
    if caller.sessions is not None:
        raise Forbidden("not with a token for named sessions")
    return features_of(request).hooks.service


def _id(request: Request) -> str:
    """Raises ValidationFailed."""
    return clean(request.path_params)["webhook_id"]


async def add(request: Request) -> Response:
    webhooks = await _service(request)
    body = struct_of(NewWebhook, await body_of(request))
    return reply(await perform(request, webhooks.add, body), 201)


async def list_all(request: Request) -> Response:
    webhooks = await _service(request)
    return reply(await webhooks.listed(query_of(WebhooksQuery, request).session_id))


async def get(request: Request) -> Response:
    webhooks = await _service(request)
    return reply(await webhooks.get(_id(request)))


async def change(request: Request) -> Response:
    webhooks = await _service(request)
    body = struct_of(ChangedWebhook, await body_of(request))
    return reply(await perform(request, webhooks.change, _id(request), body))


async def delete(request: Request) -> Response:
    webhooks = await _service(request)
    await perform(request, webhooks.delete, _id(request))
    return reply({"webhook_id": _id(request), "deleted": True})


async def rotate(request: Request) -> Response:
    webhooks = await _service(request)
    body = struct_of(RotatedSecret, await body_of(request))
    return reply(await perform(request, webhooks.rotate, _id(request), body))


async def replay(request: Request) -> Response:
    webhooks = await _service(request)
    body = struct_of(ReplayWebhook, await body_of(request))
    await perform(request, webhooks.replay, _id(request), body)
    return reply({"webhook_id": _id(request), "session_id": body.session_id})


async def deliveries(request: Request) -> Response:
    webhooks = await _service(request)
    return reply(await webhooks.deliveries(_id(request), query_of(DeliveriesQuery, request)))


BASE = "/api/server/webhooks"
ONE = BASE + "/{webhook_id}"
ROUTES = [
    call("POST", BASE, add),
    call("GET", BASE, list_all),
    call("GET", ONE, get),
    call("PATCH", ONE, change),
    call("DELETE", ONE, delete),
    call("POST", ONE + "/rotate", rotate),
    call("POST", ONE + "/replay", replay),
    call("GET", ONE + "/deliveries", deliveries),
]

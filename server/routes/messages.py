"""`/api/chat/sessions/{id}/messages` and the other commands by REST; event streams."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Send

from events import schema
from events.catalog import CATALOG
from events.errors import UnknownCommand, ValidationFailed
from server.routes.common import (
    RawEndpoint,
    body_of,
    caller_of,
    clean,
    endpoint,
    query_of,
    reply,
    services_of,
    session_id_of,
)

BASE = "/api/chat/sessions/{session_id}"
#: Commands that a request without a connection may give, by their names.
BY_NAME = [name for name, command in CATALOG.items() if not command.sockets_only and name != "message"]


async def _call(request: Request, name: str, payload: dict[str, Any]) -> dict[str, Any]:
    services, caller = services_of(request), await caller_of(request)
    payload["session_id"] = session_id_of(request)
    return await services.dispatcher.call(name, caller, payload)


async def history(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    ask = query_of(schema.History, request, session_id=session_id_of(request))
    payload = {name: value for name in ask.__struct_fields__ if (value := getattr(ask, name)) is not None}
    return reply(await services.dispatcher.call("history", caller, payload))


async def send(request: Request) -> Response:
    body = await body_of(request)
    key = request.headers.get("idempotency-key")
    if key and body.get("client_message_id") is None:
        body["client_message_id"] = clean({"Idempotency-Key": key})["Idempotency-Key"]
    done = await _call(request, "message", body)
    return reply({**done, "status": "sent"}, 201)


async def edit(request: Request) -> Response:
    body = await body_of(request)
    body["message_id"] = request.path_params["message_id"]
    return reply(await _call(request, "edit", body))


async def delete(request: Request) -> Response:
    return reply(await _call(request, "delete", {"message_id": request.path_params["message_id"]}))


async def command(request: Request) -> Response:
    name = request.path_params["command"]
    if name not in BY_NAME:
        raise UnknownCommand(f"no such command: {name[:100]}")
    return reply(await _call(request, name, await body_of(request)))


async def events(request: Request, receive: Receive, send: Send) -> None:
    services, caller = services_of(request), await caller_of(request)
    query = clean(dict(request.query_params))
    after = request.headers.get("last-event-id") or query.get("after")
    revision = query.get("after_revision")
    limit = query.get("limit", "50")
    for name, value in (("after_revision", revision), ("limit", limit)):
        if value is not None and not (value.isascii() and value.isdigit() and len(value) < 16):
            raise ValidationFailed("a whole number", field=name)
    if not 1 <= int(limit) <= 500:
        raise ValidationFailed("1 to 500", field="limit")
    await services.extras["event_streams"].events(
        request.scope,
        receive,
        send,
        caller,
        session_id_of(request),
        after,
        int(revision) if revision is not None else None,
        int(limit),
    )


ROUTES = [
    Route(BASE + "/messages", endpoint(history), methods=["GET"]),
    Route(BASE + "/messages", endpoint(send), methods=["POST"]),
    Route(BASE + "/messages/{message_id}", endpoint(edit), methods=["PATCH"]),
    Route(BASE + "/messages/{message_id}", endpoint(delete), methods=["DELETE"]),
    Route(BASE + "/events", RawEndpoint(events), methods=["GET"]),
    Route(BASE + "/{command}", endpoint(command), methods=["POST"]),
]

"""`/api/chat/sessions/{id}/messages` and the other commands by REST; event streams."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from events import schema
from events.catalog import CATALOG
from events.errors import UnknownCommand, ValidationFailed
from server.routes.common import call, caller_of, doors_of, reply
from server.routes.reading import body_of, clean, query_of, services_of, session_id_of

BASE = "/api/chat/sessions/{session_id}"
#: Commands that a request without a connection may give, by their names.
BY_NAME = [name for name, command in CATALOG.items() if not command.sockets_only and name != "message"]


async def _give(request: Request, name: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
    """A command, whose payload is the body unless it is given; the caller is known before that is read."""
    services, caller = services_of(request), await caller_of(request)
    if payload is None:
        payload = await body_of(request)
        key = request.headers.get("idempotency-key") if name == "message" else None
        if key and payload.get("client_message_id") is None:
            payload["client_message_id"] = clean({"Idempotency-Key": key})["Idempotency-Key"]
    payload |= {name: value for name, value in request.path_params.items() if name != "command"}
    payload["session_id"] = session_id_of(request)
    return await services.dispatcher.call(name, caller, payload)


async def history(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    ask = query_of(schema.History, request, session_id=session_id_of(request))
    payload = {name: value for name in ask.__struct_fields__ if (value := getattr(ask, name)) is not None}
    return reply(await services.dispatcher.call("history", caller, payload))


async def turns(request: Request) -> Response:
    ask = query_of(schema.Turns, request, session_id=session_id_of(request))
    payload = {name: value for name in ask.__struct_fields__ if (value := getattr(ask, name)) is not None}
    return reply(await services_of(request).dispatcher.call("turns", await caller_of(request), payload))


async def send(request: Request) -> Response:
    return reply({**await _give(request, "message"), "status": "sent"}, 201)


async def edit(request: Request) -> Response:
    return reply(await _give(request, "edit"))


async def delete(request: Request) -> Response:
    return reply(await _give(request, "delete", {}))


async def command(request: Request) -> Response:
    name = request.path_params["command"]
    if name not in BY_NAME:
        raise UnknownCommand(f"no such command: {name[:100]}")
    return reply(await _give(request, name))


async def events(request: Request, receive: Receive, send: Send) -> None:
    caller = await caller_of(request)
    query = clean(dict(request.query_params))
    after = request.headers.get("last-event-id") or query.get("after")
    revision = query.get("after_revision")
    limit = query.get("limit", "50")
    for name, value in (("after_revision", revision), ("limit", limit)):
        if value is not None and not (value.isascii() and value.isdigit() and len(value) < 16):
            raise ValidationFailed("a whole number", field=name)
    if not 1 <= int(limit) <= 500:
        raise ValidationFailed("1 to 500", field="limit")
    await doors_of(request).event_streams.events(
        request.scope,
        receive,
        send,
        caller,
        session_id_of(request),
        after,
        int(revision) if revision is not None else None,
        int(limit),
        query.get("lineage"),
    )


ROUTES = [
    call("GET", BASE + "/messages", history),
    call("GET", BASE + "/turns", turns),
    call("POST", BASE + "/messages", send),
    call("PATCH", BASE + "/messages/{message_id}", edit),
    call("DELETE", BASE + "/messages/{message_id}", delete),
    call("GET", BASE + "/events", events),
    call("POST", BASE + "/{command}", command),
]

"""`/api/chat/sessions`: sessions, their participants and presence."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from events import schema, sessionview
from events.clock import rfc3339
from events.errors import ValidationFailed
from events.sessions import Origin
from server.identity import peer
from server.routes.common import call, caller_of, perform, reply
from server.routes.reading import body_of, query_of, services_of, session_id_of, struct_of, user_id_of
from storage.records import Person

#: Metadata and title of a session: as large as a message may be.
BASE = "/api/chat/sessions"


def origin_of(request: Request) -> Origin:
    services = services_of(request)
    address = peer.client_address(request.scope, services.settings)
    return Origin("rest", address, request.headers.get("user-agent"))


async def create(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    body = struct_of(schema.CreateSession, await body_of(request))
    record = await perform(
        request,
        services.sessions.create_session,
        caller,
        origin_of(request),
        agent_id=int(body.agent_id) if body.agent_id is not None else None,
        title=body.title,
        metadata=body.metadata,
        ttl_hours=body.ttl_hours,
        user_id=body.user_id,
    )
    return reply(services.sessions.brief(record), 201)


async def list_all(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    ask = query_of(schema.ListSessions, request)
    return reply(
        await services.sessions.list_sessions(
            caller, ask.status, ask.agent_id, ask.limit, ask.offset, ask.cursor
        )
    )


async def get(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    record, role = await services.sessions.get_session(caller, session_id_of(request))
    return reply(await _with_users(request, await services.sessions.full(record, role)))


async def patch(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    body = struct_of(schema.PatchSession, await body_of(request))
    record, role = await perform(
        request,
        services.sessions.patch,
        caller,
        session_id_of(request),
        body.title,
        body.metadata,
        body.status,
    )
    return reply(await services.sessions.full(record, role))


async def delete(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    session_id = session_id_of(request)
    purge = request.query_params.get("purge", "false").lower()
    if purge not in ("true", "false", "1", "0"):
        raise ValidationFailed("true or false", field="purge")
    if purge in ("true", "1"):
        await perform(request, services.sessions.purge_session, caller, session_id)
        return reply({"message": "Session erased", "session_id": session_id})
    await perform(request, services.sessions.delete_session, caller, session_id)
    return reply({"message": "Session archived", "session_id": session_id})


async def extend(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    body = struct_of(schema.ExtendSession, await body_of(request))
    record = await perform(
        request, services.sessions.extend_session, caller, session_id_of(request), body.hours
    )
    return reply({"session_id": record.session_id, "expires_at": rfc3339(record.expires_at)})


async def put_participant(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    body = struct_of(schema.PutParticipant, await body_of(request))
    session_id = session_id_of(request)
    user_id = user_id_of(request)
    await perform(request, services.participation.put_participant, caller, session_id, user_id, body.role)
    return await _participants(request, session_id)


async def delete_participant(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    session_id = session_id_of(request)
    await perform(request, services.participation.remove_participant, caller, session_id, user_id_of(request))
    return await _participants(request, session_id)


async def _participants(request: Request, session_id: str) -> Response:
    sessions = services_of(request).sessions
    shown = await sessions.participants(await sessions.existing(session_id))
    return reply(await _with_users(request, shown))


async def _with_users(request: Request, shown: dict[str, Any]) -> dict[str, Any]:
    """What a session is told of, with what its people are called."""
    persons = await services_of(request).gate.names.of_all(shown["participants"])
    agent = shown.get("agent")
    users, _ = sessionview.users(persons)
    if agent is not None:
        users[f"agent:{agent['id']}"] = Person(agent["name"], agent["avatar_url"])
    return shown | {"users": users} if users else shown


async def presence(request: Request) -> Response:
    services, caller = services_of(request), await caller_of(request)
    session_id = session_id_of(request)
    await services.sessions.readable(caller, session_id)
    online = await services.presence.online(session_id)
    persons = await services.gate.names.of_all([user["user_id"] for user in online])
    users, _ = sessionview.users(persons)
    return reply({"online": online, "users": users} if users else {"online": online})


ROUTES = [
    call("POST", BASE, create),
    call("GET", BASE, list_all),
    call("GET", BASE + "/{session_id}", get),
    call("PATCH", BASE + "/{session_id}", patch),
    call("DELETE", BASE + "/{session_id}", delete),
    call("POST", BASE + "/{session_id}/extend", extend),
    call("GET", BASE + "/{session_id}/presence", presence),
    call("PUT", BASE + "/{session_id}/participants/{user_id:path}", put_participant),
    call("DELETE", BASE + "/{session_id}/participants/{user_id:path}", delete_participant),
]

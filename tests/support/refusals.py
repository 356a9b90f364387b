"""How each door says no to a connection, in one form: the error's code and the close code."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import HandshakeRefused, SioPolling, SioWebSocket
from tests.support.sseclient import SseClient


@dataclass(frozen=True)
class Refusal:
    """`closed` is the WebSocket's close code, `http` the status of REST. Socket.IO's door closes the
    connection of who may come back: over a WebSocket the reason is the code, else nothing is said.
    """

    code: str | None
    closed: int | None = None
    http: int | None = None


async def refusal(kind: str, server: Server, token: str | None, session_id: str, **options: Any) -> Refusal:
    """Try to get into the session; what refused it. AssertionError when nothing did.

    Options are the clients' own: `origin`, `token_in`, `headers`.
    """
    match kind:
        case "websocket":
            return await _raw(server, token, session_id, **options)
        case "rest":
            url = f"{server.url}/api/chat/sessions/{session_id}/events"
            headers = {"Origin": options["origin"]} if "origin" in options else {}
            async with SseClient(url, token, headers=headers) as client:
                assert client.status >= 400, client.status
                return Refusal(client.json()["error"]["code"], http=client.status)
        case "polling":
            headers = {"Origin": options["origin"]} if "origin" in options else {}
            return await _socketio(SioPolling(server.url, headers=headers), token, session_id)
        case _:
            return await _socketio(SioWebSocket(server.ws_url, **options), token, session_id)


async def _raw(server: Server, token: str | None, session_id: str, **options: Any) -> Refusal:
    async with RawClient(server.ws_url, session_id, token, **options) as client:
        closed = await client.closed()
        errors = client.named("error")
        assert client.named("welcome") == []
        return Refusal(errors[0]["code"] if errors else None, closed=closed)


async def _socketio(client: SioWebSocket | SioPolling, token: str | None, session_id: str) -> Refusal:
    try:
        return await _in_socketio(client, token, session_id)
    except HandshakeRefused as refused:
        told = json.loads(refused.body)
        if "error" in told:
            return Refusal(told["error"]["code"], http=refused.status)
        # Engine.IO has error numbers of its own for a handshake: the status is ours.
        assert set(told) >= {"code", "message"}
        return Refusal(None, http=refused.status)


async def _in_socketio(client: SioWebSocket | SioPolling, token: str | None, session_id: str) -> Refusal:
    async with client:
        try:
            answer = await client.connect(token)
        except ConnectionError:
            return Refusal(client.reason, closed=client.code)
        if "sid" not in answer:
            assert isinstance(answer["message"], str)
            return Refusal(answer["data"]["code"])
        reply = await client.emit("join", {"session_id": session_id})
        assert not reply["ok"], reply
        return Refusal(reply["error"]["code"])

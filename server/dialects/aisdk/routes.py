"""`/api/ai/chat`: the calls of the AI SDK's HTTP transport, and of pages that stop or show a chat."""

import asyncio
from typing import NamedTuple

from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from events.access import Caller
from events.asking import Asked
from events.errors import SessionNotFound, StreamClosed, StreamNotFound, ValidationFailed
from server.dialects.aisdk.asking import UICall, carry_out
from server.dialects.aisdk.bodies import (
    LARGEST,
    UIChatRequest,
    last_message,
    request_in,
    to_stop,
    tools_in,
)
from server.dialects.aisdk.chunks import Sdk, UIChunks
from server.dialects.aisdk.streams import HEADERS, UIFrames
from server.dialects.chats import Chat
from server.dialects.files import own_file
from server.dialects.following import FileUrls, ToldWithFiles, goes_on, open_turns, turn_begins
from server.dialects.repeats import key_in
from server.dialects.wholechats import check_values
from server.identity import peer
from server.routes.common import call, caller_of, doors_of, features_of, perform, reply
from server.routes.reading import bytes_of, clean, services_of, struct_of
from server.routes.sessions import origin_of
from server.routes.streams import FROM_THE_BEGINNING, answer_begins
from server.transports.eventstream import Begin

SDKS: dict[str, Sdk] = {"5": 5, "6": 6, "7": 7}


async def chat(request: Request, receive: Receive, send: Send) -> None:
    """`POST /api/ai/chat`. A client that goes does not stop the answer."""
    caller, sdk = await caller_of(request), sdk_of(request)
    reads = await _asked(request, caller, sdk)
    await _answer(request, receive, send, caller, reads)


class _Reads(NamedTuple):
    """The answer that a request is told, and as what."""

    session_id: str
    begin: Begin
    chunks: UIChunks
    urls: FileUrls


async def _asked(request: Request, caller: Caller, sdk: Sdk) -> _Reads:
    """Carries the request out. What it brought is held no longer than this takes."""
    services, settings = services_of(request), services_of(request).settings
    data = await bytes_of(request, max(LARGEST, settings.ws_message_size_limit))
    check_values(data)
    await asyncio.sleep(0)  # others have their turn of the loop: each of these goes over all of it
    body = request_in(data)
    await asyncio.sleep(0)
    if body.agent_id is None and "agent_id" in request.query_params:
        body.agent_id = struct_of(
            UIChatRequest, {"id": body.id, **clean(dict(request.query_params))}
        ).agent_id
    message, tools = last_message(body), tools_in(body.tools)
    body.messages, body.message, body.tools = [], Raw(), Raw()
    del data
    door = doors_of(request).event_streams
    await door.admit(request.scope, caller)
    own = own_file(peer.origin_seen(request.scope, settings), settings.root_path)
    files, key = features_of(request).files, key_in(request.headers.get("idempotency-key"))
    chat = Chat(services, caller, body.id, origin_of(request))
    asked_for = UICall(chat, files, body, message, own, key, tools)
    told = await perform(request, carry_out, asked_for)
    if isinstance(told, Asked):
        begin = answer_begins(services, told, b"", FROM_THE_BEGINNING, in_order=True)
        return _reads(request, caller, told.message.session_id, begin, sdk)
    reads = _reads(request, caller, body.id, goes_on(services, told.answer), sdk)
    reads.chunks.knows(told.parts)
    return reads


def _reads(request: Request, caller: Caller, session_id: str, begin: Begin, sdk: Sdk) -> _Reads:
    urls = _file_urls(request, caller)
    return _Reads(session_id, begin, UIChunks(sdk, session_id, urls.of), urls)


async def _answer(request: Request, receive: Receive, send: Send, caller: Caller, reads: _Reads) -> None:
    told = ToldWithFiles(send, UIFrames(reads.chunks), reads.urls, HEADERS)
    door = doors_of(request).event_streams
    await door.answer(request.scope, receive, told, caller, reads.session_id, reads.begin)


def _file_urls(request: Request, caller: Caller) -> FileUrls:
    origin = peer.origin_seen(request.scope, services_of(request).settings)
    return FileUrls(features_of(request).files, caller, origin)


def sdk_of(request: Request) -> Sdk:
    """Raises ValidationFailed."""
    sdk = SDKS.get(request.query_params.get("sdk", "6"))
    if sdk is None:
        raise ValidationFailed("5, 6 or 7", field="sdk")
    return sdk


# --- resume and stop


async def resume(request: Request, receive: Receive, send: Send) -> None:
    """`GET /api/ai/chat/{chat_id}/stream`: the answer that is open, from its beginning; 204 where none is. To
    `useChat` any other answer is an error, also that there is no such chat."""
    caller = await caller_of(request)
    sdk, chat_id = sdk_of(request), request.path_params["chat_id"]
    begin = await _open_answer(request, caller, chat_id)
    if begin is not None:
        await doors_of(request).event_streams.admit(request.scope, caller)
        try:
            reads = _reads(request, caller, chat_id, begin, sdk)
            await _answer(request, receive, send, caller, reads)
            return
        except StreamClosed:
            pass  # it was stopped meanwhile
    await Response(status_code=204)(request.scope, receive, send)


async def _open_answer(request: Request, caller: Caller, chat_id: str) -> Begin | None:
    services = services_of(request)
    clean({"chat_id": chat_id})
    try:
        session, _ = await services.sessions.readable(caller, chat_id)
    except SessionNotFound:
        return None
    turns = await open_turns(services, chat_id)
    if not turns or session.agent_id is None:
        return None
    return await turn_begins(services, caller, session, turns[0])


async def stop(request: Request) -> Response:
    """`POST /api/ai/chat/{chat_id}/stop`: 200 also where there is nothing to stop."""
    services, caller = services_of(request), await caller_of(request)
    chat_id = request.path_params["chat_id"]
    clean({"chat_id": chat_id})
    named = to_stop(await bytes_of(request, LARGEST))
    status = None
    try:
        await services.sessions.writable(caller, chat_id)
        turns = await open_turns(services, chat_id)
        wanted = [turn for turn in turns if named in (turn.get("answer_id"), turn["message_id"])]
        message_id = (wanted or ([] if named else turns) or [{}])[0].get("message_id")
        if message_id is not None:
            payload = {"session_id": chat_id, "message_id": message_id}
            stopped = await services.dispatcher.call("stream_cancel", caller, payload, limited=True)
            status = stopped.get("status")
    except (SessionNotFound, StreamNotFound):
        pass
    return reply({"stopped": status is not None, "status": status})


ROUTES = [
    call("POST", "/api/ai/chat", chat),
    call("GET", "/api/ai/chat/{chat_id}/stream", resume),
    call("POST", "/api/ai/chat/{chat_id}/stop", stop),
]

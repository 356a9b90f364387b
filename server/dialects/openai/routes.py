"""`/v1`: the calls of OpenAI's libraries."""

from collections import Counter
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Send

from events.access import Caller
from events.asking import Asked
from events.errors import AgentNotFound, ValidationFailed
from server.dialects.answerlines import ToldInFrames
from server.dialects.behind import Behind
from server.dialects.openai.asking import OpenAICall, ask, begin, begins_of, model_of, session_in
from server.dialects.openai.bodies import ChatCompletionRequest
from server.dialects.openai.chatinput import entries_of
from server.dialects.openai.chunks import ChatChunks, completion
from server.dialects.openai.conversation import read
from server.dialects.openai.errors import is_whole, not_whole, openai_error
from server.dialects.openai.responses import cancel, create, input_items, retrieve
from server.dialects.openai.toolcalls import page_tools
from server.dialects.repeats import key_in
from server.routes.common import Handler, Raw, call, caller_of, doors_of, perform, reply
from server.routes.reading import body_of, services_of, struct_of
from server.routes.sessions import origin_of
from server.transports.eventstream import Begin
from storage.records import AgentLine


def route(method: str, path: str, handler: Handler | Raw) -> Route:
    return call(method, path, handler, told=openai_error)


# --- chat completions


async def chat_completions(request: Request, receive: Receive, send: Send) -> None:
    """`POST /v1/chat/completions`. A client that goes does not stop the answer."""
    services, caller = services_of(request), await caller_of(request)
    session_id, begins, behind, wants = await _asked(request, caller)
    door = doors_of(request).event_streams
    if wants.stream:
        now = int(services.clock())
        chunks = ChatChunks(wants.model, session_id, now, with_usage=wants.usage, behind=behind)
        await door.answer(request.scope, receive, ToldInFrames(send, chunks), caller, session_id, begins)
        return
    message_id = await door.whole(request.scope, receive, caller, session_id, begins)
    if message_id is None:
        return
    record = await services.messages.get(session_id, message_id)
    answer = reply(completion(record, wants.model, behind)) if is_whole(record) else not_whole(record)
    await answer(request.scope, receive, send)


class ChatWants(NamedTuple):
    """How a request is to be answered."""

    model: str
    stream: bool
    usage: bool


async def _asked(request: Request, caller: Caller) -> tuple[str, Begin, Behind | None, ChatWants]:
    """Commits what is asked: its session, and its answer. What the request brought is held no longer than
    this takes."""
    services, body = services_of(request), struct_of(ChatCompletionRequest, await body_of(request))
    asked_for, options = _call_of(body, request), body.stream_options
    if body.stream:
        await doors_of(request).event_streams.admit(request.scope, caller)

    async def commit(call: OpenAICall) -> Asked:
        return await perform(request, ask, services, caller, call, origin_of(request))

    asked, waited, behind = await begin(services, caller, asked_for, commit)
    wants = ChatWants(body.model, bool(body.stream), bool(options is not None and options.include_usage))
    return asked.message.session_id, begins_of(services, asked, waited), behind, wants


def _call_of(body: ChatCompletionRequest, request: Request) -> OpenAICall:
    """Raises ValidationFailed."""
    if body.response_format is not None and body.response_format.get("type") != "text":
        raise ValidationFailed("agents answer with text", field="response_format")
    if body.logprobs:
        raise ValidationFailed("agents tell none", field="logprobs")
    conversation = read(entries_of(body.messages), "messages")
    metadata = dict(body.metadata or {})
    given = [tool.function for tool in body.tools or () if body.tool_choice != "none"]
    return OpenAICall(
        body.model,
        conversation,
        session_in(body.conversation, metadata),
        metadata,
        body.when_busy,
        key_in(request.headers.get("idempotency-key")),
        "messages",
        page_tools(given, "tools"),
    )


# --- models


async def models(request: Request) -> Response:
    """`GET /v1/models`: the agents that one may ask."""
    services, _ = services_of(request), await caller_of(request)
    lines = [line for line in await services.agents.lines(with_config=False) if line.is_active]
    named = Counter(line.name for line in lines)
    data = [_model(line, unique=named[line.name] == 1) for line in lines]
    return reply({"object": "list", "data": data})


async def model(request: Request) -> Response:
    """`GET /v1/models/{model}`."""
    services, _ = services_of(request), await caller_of(request)
    name = request.path_params["model"]
    found = await services.agents.get(await model_of(services, name))
    if found is None:
        raise AgentNotFound
    return reply(_shown(name))


def _model(agent: AgentLine, *, unique: bool) -> dict[str, Any]:
    return _shown(agent.name if unique and not agent.name.isdigit() else str(agent.id))


def _shown(name: str) -> dict[str, Any]:
    # Nobody knows when an agent was made.
    return {"id": name, "object": "model", "created": 0, "owned_by": "parley"}


ROUTES = [
    route("POST", "/v1/chat/completions", chat_completions),
    route("POST", "/v1/responses", create),
    route("GET", "/v1/responses/{response_id}", retrieve),
    route("POST", "/v1/responses/{response_id}/cancel", cancel),
    route("GET", "/v1/responses/{response_id}/input_items", input_items),
    route("GET", "/v1/models", models),
    route("GET", "/v1/models/{model:path}", model),
]

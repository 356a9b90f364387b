"""The common parts of REST routes: the caller, a strict body, and errors as the contract has them."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.bounds import LATE
from events.dispatch import forget
from events.errors import ChatError, RateLimited, Unauthorized, Unavailable, ValidationFailed
from events.event import to_json
from server.bounds import CALLS, GIVES, OPENS, WRITES
from server.doors import Doors
from server.engine.answers import WAITING, AnsweringProtocol, once_taken, protocol_of
from server.errors import json_error
from server.identity import peer
from server.node.features import Features
from server.routes.reading import clean, services_of
from server.transports.eventstream import by_event_source, come_again
from storage.fairness import ASKING
from storage.patience import PATIENCE, Patience

T = TypeVar("T")
P = ParamSpec("P")
Handler = Callable[[Request], Awaitable[Response]]
#: A route that answers by itself once it has begun.
Raw = Callable[[Request, Receive, Send], Awaitable[None]]
#: The answer that tells an error.
Told = Callable[[ChatError], Response]


def doors_of(request: Request) -> Doors:
    return request.app.state.doors  # type: ignore[no-any-return]


def features_of(request: Request) -> Features:
    return request.app.state.features  # type: ignore[no-any-return]


def reply(body: Any, status: int = 200) -> Response:
    return Response(to_json(body), status_code=status, media_type="application/json")


def call(
    method: str, path: str, handler: Handler | Raw, *, head: bool = False, told: Told = json_error
) -> Route:
    """A route, with the bounds that `server.bounds` declares for it: one without any is a KeyError.

    A `Handler` answers with a response, a `Raw` one by itself. Errors get their form by `told`, and an
    unexpected one is logged and told as INTERNAL.
    """
    key = (method, path.replace(":path}", "}"))
    # A command's is asked by `dispatch`.
    rate = None if key in GIVES or key in OPENS else CALLS[key].rate
    answer = _Call(handler, rate, writes=WRITES.get(key), told=told)
    return Route(path, answer, methods=[method, "HEAD"] if head else [method])


def page(path: str, handler: Handler) -> Route:
    """The same for what anybody may look at, from anywhere and without a token."""
    rate = CALLS["GET", path.replace(":path}", "}")].rate
    return Route(path, _Call(handler, rate, public=True), methods=["GET"])


def _answering(handler: Handler | Raw) -> Raw:
    if len(inspect.signature(handler).parameters) > 1:
        return cast(Raw, handler)

    async def answer(request: Request, receive: Receive, send: Send) -> None:
        response = await cast(Handler, handler)(request)
        await response(request.scope, receive, send)

    return answer


async def _failed(request: Request, failure: Exception, told: Told) -> Response:
    """What its client is told. Not where it was caught: a frame that its own error leads back to waits for
    the collector, with the body that it holds."""
    services = services_of(request)
    error = services.dispatcher.error_of(failure, request.url.path)
    caller = services.gate.requests.caller_of(request.scope)
    late: Awaitable[None] | None = None
    if isinstance(error, RateLimited) and error.late:
        late = asyncio.sleep(LATE)
    elif caller is not None:
        late = services.dispatcher.mistake(error, caller)
    if late is not None:
        request.scope["parley.late"] = True
        forget(failure)
        forget(error)
        await late
    address = services.address_of(request.scope["client"], request.scope["headers"])
    services.gate.journal.refused(request.method, error, address, request.scope["path"])
    again = error.retryable and by_event_source(request.method, request.headers)
    answer = come_again(error) if again else told(error)
    if request.scope.get("parley.late"):  # what waits behind it on the connection is not waited for as well
        answer.headers["Connection"] = "close"
    return answer


class _Call:
    """The ASGI application of one route."""

    def __init__(
        self,
        handler: Handler | Raw,
        rate: str | None,
        *,
        writes: str | None = None,
        public: bool = False,
        told: Told = json_error,
    ) -> None:
        self._answer, self._rate, self._public = _answering(handler), rate, public
        self._writes, self._told = writes, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        scope["parley.rate"], scope["parley.writes"] = self._rate, self._writes
        patience = scope["parley.patience"] = Patience()
        services = services_of(request)
        began = time.perf_counter() if services.gate.journal.requests else 0.0
        status = 0  # as long as nothing has been sent

        async def sending(message: Any) -> None:
            nonlocal status
            status = status or message.get("status", 200)
            patience.until = None  # what a stream still has to ask for is the node's own work
            if len(message.get("body", b"")) > WAITING:
                return await _in_pieces(message, send, protocol_of(scope))
            await send(message)

        try:
            if self._public:
                await _anybody(request, self._rate)
            else:
                await _after_stall(request)
                check_origin(request)
                check_path(request)
            await self._answer(request, receive, sending)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
            answer = await _failed(request, failure, self._told)
            if not status:
                await answer(scope, receive, sending)
        finally:
            patience.until = None
            once_taken(scope, partial(services.gate.requests.end, scope))
            if began:
                seconds = time.perf_counter() - began
                services.gate.journal.answered(scope["method"], scope["path"], status, seconds)


async def _in_pieces(message: Any, send: Send, http: AnsweringProtocol | None) -> None:
    """A long body waits here for the bytes before it: with TLS nobody can see what has been written. All of
    it is held until the last piece has been written."""
    body = message["body"]
    last = (len(body) - 1) // WAITING * WAITING
    if http is not None:
        http.holds(len(body))
    try:
        for start in range(0, last, WAITING):
            piece = body[start : start + WAITING]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({**message, "body": body[last:]})
    finally:
        if http is not None:
            http.holds(-len(body))


async def _after_stall(request: Request) -> None:
    """Refuses a request to a process that stood still: its client has given up, and may have asked another
    node. Raises Unavailable."""
    stall = services_of(request).dispatcher.stall
    if stall is not None and stall.stood_still():
        await stall.passing()
        http = protocol_of(request.scope)
        if http is not None and http.transport.is_closing():
            raise Unavailable("the client has gone")


def check_origin(request: Request) -> None:
    """Raises OriginNotAllowed."""
    services_of(request).gate.origins.check(request.headers.get("origin"), request.scope)


def check_path(request: Request) -> None:
    """What the address names is there as it was written. Raises ValidationFailed.

    A server decodes bytes that are no UTF-8 to U+FFFD: two addresses would name one thing.
    """
    clean(request.path_params)
    if "\ufffd" in request.scope["path"]:
        try:
            unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
        except UnicodeDecodeError as error:
            raise ValidationFailed("not UTF-8", field="path") from error


async def caller_of(request: Request) -> Caller:
    """The caller, within the route's bounds: to be asked before anything is read or done.

    Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable.
    """
    services = services_of(request)
    found = peer.request_token(request.scope)
    if found is None:
        raise Unauthorized
    token, source = found
    scope = request.scope
    address = peer.client_address(scope, services.settings)
    caller = await services.authenticate(token, scope["headers"], source == "query", address)
    services.gate.requests.begin(scope, caller)
    ASKING.set(caller.asking)
    PATIENCE.set(scope["parley.patience"])
    waiting: Awaitable[None] | None = None
    if scope["parley.writes"] is not None:
        waiting = services.dispatcher.limit(scope["parley.writes"], caller)
    elif scope["parley.rate"] is not None:
        waiting = services.gate.limits.check(caller, scope["parley.rate"])
    if waiting is not None:
        scope["parley.late"] = True
        await waiting
    return caller


async def perform(request: Request, act: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Does the route's write, under its name in `server.bounds.WRITES`. Raises ChatError."""
    name, session_id = request.scope["parley.writes"], request.path_params.get("session_id")
    dispatcher = services_of(request).dispatcher
    return await dispatcher.perform(name, partial(act, *args, **kwargs), session_id)


async def _anybody(request: Request, rate: str | None) -> None:
    """Raises RateLimited."""
    if rate is None:
        return
    services = services_of(request)
    address = peer.client_address(request.scope, services.settings)
    waiting = services.gate.limits.check_each(rate, peer.network_of(address))
    if waiting is not None:
        request.scope["parley.late"] = True
        await waiting

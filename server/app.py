"""`create_app(settings)`: routes, middleware, mounts. Nothing global: two apps run in one process."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from events.errors import (
    ChatError,
    Draining,
    PayloadTooLarge,
    RateLimited,
    ServerFull,
    UnknownCommand,
    ValidationFailed,
)
from events.event import to_json
from events.held import Held
from server import gauges
from server.config import Settings
from server.dialects.agui import routes as agui
from server.dialects.aisdk import routes as aisdk
from server.dialects.aisdk import socket as aisdk_socket
from server.dialects.openai import routes as openai
from server.doors import Doors, build_doors, open_doors
from server.engine.asgi import Headers
from server.engine.http import LINE
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol
from server.engine.requests import PATH as SOCKETIO_PATH
from server.engine.requests import query_of
from server.engine.strangers import Strangers
from server.errors import TABLE, body_of, retry_after
from server.identity import peer
from server.identity.origins import Origins
from server.metrics import Metrics
from server.node.build import build
from server.node.features import build_features, offering
from server.node.jobs import feature_jobs
from server.node.running import CannotServe, running
from server.prefix import with_other_slash, without_prefix
from server.routes import (
    agents,
    chat,
    dev,
    files,
    messages,
    operations,
    pages,
    search,
    service,
    sessions,
    streams,
    webhooks,
)
from server.routes.common import reply
from server.services import Services


class Application(Starlette):
    """With what `server.engine` asks an application for besides ASGI."""

    at_once: Callable[[Scope, WebSocketProtocol], bool]
    refused_head: Callable[[int, Headers], tuple[Headers, bytes]]
    strangers: Strangers | None
    held: Held


def create_app(settings: Settings, processes: int = 1) -> Application:
    """`processes` share the machine."""
    metrics = Metrics()
    node = build(settings, metrics, processes=processes)
    services, doors, features = node.services, build_doors(node), build_features(node, metrics)
    engine = _Engine(services, doors)
    gauges.watch(metrics, node, features)

    @asynccontextmanager
    async def serving(app: Starlette) -> AsyncIterator[None]:
        others = offering(node, features), open_doors(doors)
        try:
            async with running(node, *others, jobs=feature_jobs(node, features)):
                yield
        except CannotServe:
            services.refused = True
            raise

    routes: Sequence[BaseRoute] = [
        *operations.ROUTES,
        *dev.ROUTES,
        *agents.ROUTES,
        *sessions.ROUTES,
        *streams.ROUTES,
        *files.ROUTES,
        *search.ROUTES,
        *service.ROUTES,
        *webhooks.ROUTES,
        *messages.ROUTES,
        *openai.ROUTES,
        *aisdk.ROUTES,
        *agui.ROUTES,
        *pages.ROUTES,
        *chat.ROUTES,
        *aisdk_socket.routes(services, doors.event_streams, features.files),
        *doors.routes,
    ]
    app = Application(routes=routes, lifespan=serving, exception_handlers={404: _not_found, 405: _not_found})
    app.router.default = _Nowhere(services, app.router.default)
    app.router.redirect_slashes = False  # `_not_found` does, with the scheme and prefix that the client sees
    app.state.services, app.state.doors, app.state.features = services, doors, features
    app.at_once = engine.at_once
    app.refused_head = _refused_head(services)
    app.strangers = doors.sio.engine.settings.strangers
    app.held = services.hub.flusher.held
    app.add_middleware(_Doors, engine=engine, services=services)
    return app


def _refused_head(services: Services) -> Callable[[int, Headers], tuple[Headers, bytes]]:
    """What `server.engine` answers for a request that comes to no route: its head is too large, or not to be
    read, or the node stops. A page that may call is let to see it."""

    def words(status: int, headers: Headers) -> tuple[Headers, bytes]:
        error: ChatError = ValidationFailed("not a request of HTTP/1.1 that has one meaning")
        if status == 431:
            told = f"a request's line and headers have at most {HEAD_LIMIT} bytes, its token among them"
            error = PayloadTooLarge(told, details={"limit": HEAD_LIMIT})
        if status == 429:
            error = RateLimited(f"at most {LINE} requests wait on one connection")
        if status == 503:
            error = Draining()
        if status not in (400, 429, 431, 503):
            return [], b""
        if status == 400:
            reason = f"{error.text}; https:// and wss:// need WS_USE_SSL, or a proxy that ends TLS"
            services.gate.journal.refused("http", ValidationFailed(reason), "")
        fields = [(b"content-type", b"application/json")]
        if (seconds := retry_after(error)) is not None:
            fields.append((b"retry-after", b"%d" % seconds))
        origin = peer.header(headers, b"origin")
        if origin is not None and services.gate.origins.allowed(origin):
            fields += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        return fields, to_json({"error": error.as_dict()})

    return words


def _told(services: Services, scope: Scope, error: ChatError) -> None:
    """The line of a refusal that no route and no door has made."""
    door = "websocket" if scope["type"] == "websocket" else scope["method"]
    address = services.address_of(scope["client"], scope["headers"])
    services.gate.journal.refused(door, error, address, scope["path"])


class _Nowhere:
    """A WebSocket at an address that has none; requests are `others`'."""

    def __init__(self, services: Services, others: ASGIApp) -> None:
        self._services, self._others = services, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await self._others(scope, receive, send)
        error = UnknownCommand("No such path: WebSockets are at /ws/{session_id} and /socket.io/")
        _told(self._services, scope, error)
        protocol: WebSocketProtocol = scope["extensions"]["parley.protocol"]["protocol"]
        protocol.refuse(404, [(b"content-type", b"application/json")], body_of(error))


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    settings = request.app.state.services.settings
    if status == 404 and (other := with_other_slash(request.scope, request.app.routes, settings)) is not None:
        return Response(status_code=307, headers={"Location": other})
    text = "No such path" if status == 404 else "This path does not take this method"
    response = reply({"error": UnknownCommand(text).as_dict()}, status)
    _told(request.app.state.services, request.scope, UnknownCommand(text))
    if status == 405:  # RFC 9110, 15.5.6: it says which are
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """Those of all routes that fit the address; each has its own."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


class _Engine:
    """What comes to Socket.IO's path, on its way to the engine."""

    def __init__(self, services: Services, doors: Doors) -> None:
        self._services, self._admission = services, services.admission
        self._root, self._operator = services.settings.root_path, services.settings.admin_password is not None
        self._sio, self._forwarding = doors.sio, doors.forwarding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sio = self._sio
        if self._forwarding is not None:
            scope, receive = self._forwarding.accept(scope, receive)
        if b"EIO=4" not in scope["query_string"]:
            self._tell_of_another_version(scope)
        refusal = self._no_entry(scope)
        if refusal is not None:
            seconds = retry_after(refusal) or 1
            await sio.endpoint.turn_away(scope, send, TABLE[refusal.code].status, seconds, body_of(refusal))
        else:
            await sio.handle_request(scope, receive, send)

    def at_once(self, scope: Scope, protocol: WebSocketProtocol) -> bool:
        """A new Socket.IO session over WebSocket, without a task (`server.engine.protocol`)."""
        if self._root:
            scope = without_prefix(scope, self._root)
        if self._admission.nobody() is not None or not scope["path"].startswith(SOCKETIO_PATH):
            return False  # `__call__` tells why, and whose a request with a sid is
        return self._sio.at_once(scope, protocol)

    def _tell_of_another_version(self, scope: Scope) -> None:
        """A client of Socket.IO 2 shows its user "xhr poll error", whatever it is answered."""
        version = query_of(scope).get(b"EIO", b"").decode("latin-1")
        problem = f"Engine.IO {version[:10] or '(none)'}, not 4: socket.io-client 3 or newer is needed"
        address = self._services.address_of(scope["client"], scope["headers"])
        error = ValidationFailed(problem, field="EIO")
        self._services.gate.journal.refused("socketio", error, address, scope["path"])

    def _no_entry(self, scope: Scope) -> ChatError | None:
        """Why the node lets nobody new in, if it does not. The answer comes before there is a session: the
        client tries again with its own growing delays, a proxy on another node."""
        why = self._admission.nobody()
        if isinstance(why, ServerFull) and self._operator:
            why = None  # an operator may look in
        if why is not None and (query_of(scope).get(b"sid") or scope.get("method") == "OPTIONS"):
            return None
        return why


class _Cors(CORSMiddleware):
    """The rule is ours; the headers are the middleware's."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
            # Nobody here reads what an allowed page's libraries add (tracing, `X-Requested-With`).
            allow_headers=("*",),
            expose_headers=("Retry-After",),
            max_age=600,
        )
        self._origins = origins

    def is_allowed_origin(self, origin: str) -> bool:
        return self._origins.allowed(origin)


class _Doors:
    """The engine's path before everything else (it answers its own CORS); the rest behind CORS."""

    def __init__(self, app: ASGIApp, engine: ASGIApp, services: Services) -> None:
        self._engine, self._services = engine, services
        self._root = services.settings.root_path
        self._app = _Cors(app, services.gate.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            send = _brief(send, self._services)
        elif self._root:
            scope = without_prefix(scope, self._root)
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(SOCKETIO_PATH):
            await self._engine(scope, receive, send)
        else:
            if scope["type"] == "http" and scope["method"] == "OPTIONS":  # no route sees a preflight
                self._services.gate.origins.admits(peer.header(scope["headers"], b"origin"), scope)
            await self._app(scope, receive, send)


def _brief(send: Send, services: Services) -> Send:
    """A start that failed for a reason which the log has: without Starlette's traceback on top of it."""

    async def brief(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and services.refused:
            message = {**message, "message": ""}
        await send(message)

    return brief

"""`/healthz`, `/readyz`, `/metrics`."""

from starlette.requests import Request
from starlette.responses import Response

from events.errors import Unauthorized
from server.errors import json_error
from server.identity import peer
from server.routes.common import features_of, page, reply
from server.routes.reading import services_of


async def healthz(request: Request) -> Response:
    """The process lives."""
    return reply({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether this node should be given work; names what fails."""
    readiness = features_of(request).readiness
    checks = await readiness.checks()
    failing = [name for name, state in checks.items() if state not in ("ok", "no")]
    checks["clock"] = readiness.clock()  # told, and harmless: the node goes by the database's
    body = {"status": "failing" if failing else "ok", "checks": checks, "failing": failing}
    return reply(body, 503 if failing else 200)


async def metrics(request: Request) -> Response:
    services = services_of(request)
    if not peer.metrics_allowed(services.settings, request.scope):
        return json_error(Unauthorized())
    own = services.own_port
    if own is not None and request.scope["server"][1] != own:
        # The common port would give now one worker's, now another's.
        text = f"each worker has its own metrics, at a port of its own; this one's is {own}"
        return reply({"error": {"code": "UNKNOWN_COMMAND", "message": text, "retryable": False}}, 404)
    body, content_type = features_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


ROUTES = [
    page("/healthz", healthz),
    page("/readyz", readyz),
    page("/metrics", metrics),
]

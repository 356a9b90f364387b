"""`/healthz`, `/readyz`, `/metrics`."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from events.errors import Unauthorized
from server import peer
from server.errors import json_error
from server.routes.common import page, reply, services_of
from server.services import Services

#: Seconds until a part that does not answer counts as failing.
PATIENCE = 3.0


async def healthz(request: Request) -> Response:
    """The process lives."""
    return reply({"status": "ok"})


class Asked:
    """One question to the database for all who ask at a time: anybody may, as often as they like."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking: asyncio.Task[str] | None = None

    async def database(self) -> str:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._services.database.check()
        except TimeoutError:
            return self._services.database.trouble or "failing"


async def readyz(request: Request) -> Response:
    """Whether this node should be given work; names what fails."""
    services = services_of(request)
    bus = "redis" if services.settings.redis_url is not None else "bus"
    checks = {"database": "ok", bus: "ok", "draining": "no"}
    checks["database"] = await services.extras["readiness"].database()
    if not services.delivery.live:
        checks[bus] = "deaf" if services.healer.deaf else "away"
    if services.admission.draining:
        checks["draining"] = "yes"
    failing = [name for name, state in checks.items() if state not in ("ok", "no")]
    checks["clock"] = services.store_time.state()  # told, and harmless: the node goes by the database's
    body = {"status": "failing" if failing else "ok", "checks": checks, "failing": failing}
    return reply(body, 503 if failing else 200)


async def metrics(request: Request) -> Response:
    services = services_of(request)
    if not peer.metrics_allowed(services.settings, request.scope):
        return json_error(Unauthorized())
    own = services.extras.get("own_port")
    if own is not None and request.scope["server"][1] != own:
        # The common port would give now one worker's, now another's.
        text = f"each worker has its own metrics, at a port of its own; this one's is {own}"
        return reply({"error": {"code": "UNKNOWN_COMMAND", "message": text, "retryable": False}}, 404)
    body, content_type = services.extras["metrics"].render(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


ROUTES = [
    page("/healthz", healthz),
    page("/readyz", readyz),
    page("/metrics", metrics),
]

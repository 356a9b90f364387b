"""`POST /api/dev/token`: tokens for development, behind every guard of the contract."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from events.errors import Forbidden, ValidationFailed
from events.identity import fault_of
from server.identity import peer
from server.identity.refresh import expiry
from server.identity.tokens import mint
from server.routes.common import call, reply
from server.routes.reading import body_of, services_of, struct_of


class DevToken(Struct, kw_only=True):
    """`ttl` in seconds."""

    sub: Annotated[str, Meta(min_length=1, max_length=255)]
    role: Literal["user", "agent", "service"] = "user"
    name: Annotated[str, Meta(max_length=255)] | None = None
    avatar_url: Annotated[str, Meta(max_length=1000)] | None = None
    sessions: list[Annotated[str, Meta(max_length=100)]] | None = None
    session_role: Literal["member", "viewer"] | None = None
    ttl: Annotated[float, Meta(gt=0, le=31_536_000)] = 86_400.0


async def token(request: Request) -> Response:
    services = services_of(request)
    if not peer.dev_token_allowed(services.settings, request.scope):
        raise Forbidden("only with DEBUG, from this machine")
    body = struct_of(DevToken, await body_of(request))
    fault = fault_of(body.role, body.sub)
    if fault is not None:
        raise ValidationFailed(fault, field="sub")
    made, expires_at = mint(
        services.settings,
        body.sub,
        role=body.role,
        name=body.name,
        avatar_url=body.avatar_url,
        sessions=body.sessions,
        session_role=body.session_role,
        ttl=body.ttl,
        now=services.gate.authenticator.now(),
    )
    return reply({"token": made, "expires_at": expiry(expires_at)})


ROUTES = [call("POST", "/api/dev/token", token)]

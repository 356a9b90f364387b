"""Looks after live connections once a second: tokens that run out, sockets that neither joined nor say
anything, and memory that a connection at rest does not need."""

from events.clock import stamp
from events.errors import TokenExpired, Unauthorized, Unavailable
from events.event import Event, Kind, to_json
from server.identity.refresh import expiry
from server.services import Services

#: Seconds between two looks.
INTERVAL = 1.0
#: Seconds of silence after which a connection's line of commands is dropped until it says something.
AT_REST = 5.0


async def watch(services: Services) -> None:
    settings, now = services.settings, services.clock()
    _end_revoked(services)
    silent = now - settings.ws_connection_timeout
    judged = services.gate.authenticator.now()
    notice = judged + settings.auth_expiry_notice
    for conn in list(services.hub.connections.values()):
        expires_at = conn.caller.expires_at
        if expires_at <= judged:
            conn.end(TokenExpired())
        elif expires_at <= notice and not conn.noticed:
            conn.noticed = True
            payload = {"expires_at": expiry(expires_at), "timestamp": stamp(now)}
            conn.send(Event("", "auth_expiring", to_json(payload), Kind.DIRECT))
        elif not conn.rooms and conn.heard_at < silent:
            conn.end(Unavailable("nothing was joined or said for too long"))
        elif conn.heard_at < now - AT_REST:
            conn.at_rest()


def _end_revoked(services: Services) -> None:
    """Where the order to end them was not heard, or came while one was on its way in."""
    for key in services.gate.revoked.lately():
        for conn in services.hub.of_user(key):
            if services.gate.revoked.refuses(conn.caller):
                conn.end(Unauthorized("the token has been revoked"))

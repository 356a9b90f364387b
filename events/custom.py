"""Events of an application's own, from its backend to a room or a user: which names and payloads may pass.

Knows neither the doors they come through nor who may use them.
"""

import msgspec

from events.catalog import CATALOG
from events.errors import ValidationFailed
from events.event import Event, Kind, to_json

#: Names with a meaning: our events, and what Socket.IO clients and servers keep for themselves.
OURS = frozenset(CATALOG) | {
    "message_updated",
    "message_deleted",
    "session",
    "system",
    "agent_request",
    "auth_expiring",
    "error",
    "welcome",
    "ack",
}
RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "reconnect"}
)
NAME_MAX = 100
DATA_MAX = 65_536


def custom(room: str, name: object, data: object, *, only_user: str = "") -> Event:
    """A volatile event with the application's object as it is. Raises ValidationFailed."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
        raise ValidationFailed(f"a name of 1 to {NAME_MAX} characters", field="event")
    if name in OURS or name in RESERVED or "\0" in name:
        raise ValidationFailed("the name has a meaning of its own", field="event")
    if not isinstance(data, dict):
        raise ValidationFailed("an object", field="data")
    try:
        encoded = to_json(data)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ValidationFailed("strict JSON", field="data") from error
    if len(encoded) > DATA_MAX:
        raise ValidationFailed(f"at most {DATA_MAX} bytes", field="data")
    return Event(room, name, encoded, Kind.VOLATILE, only_user=only_user)

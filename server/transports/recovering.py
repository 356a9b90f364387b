"""Whether a Socket.IO client can take recovery data. The official one's first CONNECT looks like any other's.

python-socketio hands the position on to the application, as one more argument of its handlers, and never
sends it back; so it gets none, unless it asks.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from server.engine.heads import read

#: python-socketio goes by aiohttp and requests, which name themselves. Its synchronous client's WebSocket
#: names nobody, but python-engineio alone puts its two parameters in this order.
_PYTHON_QUERY: Final = re.compile(rb"(?:^|&)transport=[a-z]+&EIO=")


def takes_positions(auth: dict[str, Any], query: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """As the client says (`auth: {recovery: true | false}`, or `?recovery=0` and `1`); else as it looks."""
    said = auth.get("recovery")
    if isinstance(said, bool):
        return said
    if b"recovery=" in query and (given := parse_qs(query).get(b"recovery")):
        return given[0] not in (b"0", b"false")
    if "pid" in auth:
        return True
    agent = read(headers).first.get(b"user-agent")
    if agent is not None:
        return b"aiohttp/" not in agent and b"python-requests/" not in agent
    return _PYTHON_QUERY.search(query) is None

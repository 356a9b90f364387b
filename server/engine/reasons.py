"""Why a session ends, in python-engineio 4.15.1's words (`AsyncServer.reason`), which handlers are told."""

from typing import Final, Literal

Reason = Literal[
    "client disconnect", "server disconnect", "ping timeout", "transport close", "transport error"
]

CLIENT_DISCONNECT: Final = "client disconnect"
SERVER_DISCONNECT: Final = "server disconnect"
PING_TIMEOUT: Final = "ping timeout"
TRANSPORT_CLOSE: Final = "transport close"
TRANSPORT_ERROR: Final = "transport error"

"""The bounds of each door and each REST call. A route without an entry here cannot be made
(`server.routes.common`); one that gives a command has the command's (`events.catalog`)."""

from dataclasses import replace

from events.agents.replies import HISTORY_MESSAGES
from events.bounds import (
    EVENT_STREAMS,
    PARTICIPANTS,
    READERS,
    REQUESTS,
    SESSIONS,
    STORED,
    UPLOADING,
    UPLOADING_EACH,
    UPLOADING_LAST,
    Bounds,
    Cap,
)
from events.catalog import CATALOG, PAGE, PAYLOAD, TOO_MUCH
from events.webhooks.outlet import TOGETHER
from events.webhooks.service import MOST as WEBHOOKS
from events.webhooks.service import OF_ALL, OF_SESSION
from events.webhooks.teller import LETTERS
from server.admin import IN_ALL, PER_NETWORK
from server.dialects.aisdk.bodies import LARGEST
from server.dialects.files import FILES
from server.downloads import EACH as DOWNLOADS_EACH
from server.downloads import MOST as DOWNLOADS
from server.engine import takers
from server.engine.endings import HEAD_TIMEOUT
from server.engine.protocol import HEAD_LIMIT
from server.engine.requests import BODY_TIMEOUT, HELD_UP
from server.forwarding import BODIES, POLLS_EACH, POLLS_LEAST
from server.identity.auth import FAILURES
from server.transports.base import HELD, SLOW_READER, opening
from server.transports.listed import TRANSPORTS
from server.uploads import LEAST, SPAN, WHOLE

#: Method and path.
Call = tuple[str, str]

_S = "/api/chat/sessions/{session_id}"
_W = "/api/server/webhooks"
_READERS = "who may see the session"
_OWNER = "its owner, `service`"
_OPERATOR = "`service` alone"
_EVERYBODY = "everybody"
_REFUSED = ("RATE_LIMIT",)
_HEAD = f"a head of {HEAD_LIMIT // 1024} KiB, {HEAD_TIMEOUT:g} s"
_TAKEN = f"taken by {takers.LEAST // 1024} KiB in {takers.SPAN:g} s"
_UNDER_WAY = f"{DOWNLOADS_EACH} under way of one network, {DOWNLOADS} of all"


def _writing(
    who: str, rate: str, *caps: Cap, holds: str = "nothing", size: str = PAYLOAD, beyond: tuple[str, ...] = ()
) -> Bounds:
    return Bounds(who, rate, size, (*TOO_MUCH, *beyond), (REQUESTS, *caps), holds)


def _reading(who: str, size: str, rate: str = "read") -> Bounds:
    return Bounds(who, rate, size, _REFUSED, (REQUESTS,))


def _public(rate: str, size: str = _HEAD) -> Bounds:
    return Bounds(_EVERYBODY, rate, size, _REFUSED)


def _unrated(who: str, why: str, size: str = _HEAD, beyond: str = "431, 408") -> Bounds:
    return Bounds(who, None, size, (beyond,), unrated=why)


def _command(name: str) -> Bounds:
    bounds = CATALOG[name].bounds
    return replace(bounds, caps=(REQUESTS, *bounds.caps))


#: A request until it begins, a connection from then on.
_ANSWER = _writing(
    "who may write in the session",
    "message",
    EVENT_STREAMS,
    READERS,
    holds="two rows; a connection, which counts as `connect` too",
    size=f"`WS_MESSAGE_SIZE_LIMIT` bytes; {SLOW_READER}",
    beyond=("SERVER_FULL", "AGENT_BUSY"),
)
#: Its session may be made for it, with what was said before.
_BEGINNING = replace(
    _ANSWER,
    caps=(*_ANSWER.caps, SESSIONS),
    beyond=(*_ANSWER.beyond, "LIMIT_REACHED"),
    holds=f"a session, {HISTORY_MESSAGES} messages brought along, {_ANSWER.holds}",
)
_STREAM = Bounds(
    _READERS,
    "read",
    f"`STREAM_MAX_SIZE` bytes; {SLOW_READER}",
    (*_REFUSED, "SERVER_FULL"),
    (REQUESTS, EVENT_STREAMS, READERS),
    "while it is written a connection, which counts as `connect` too",
)
#: The same of a chat whose client sends all that it shows, with its files.
_CHAT = replace(
    _ANSWER,
    size=(
        f"{LARGEST // 2**20} MiB, the last message `WS_MESSAGE_SIZE_LIMIT` without its {FILES} files, "
        f"each an `upload`; {SLOW_READER}"
    ),
    caps=(*_ANSWER.caps, SESSIONS, STORED),
    beyond=(*_ANSWER.beyond, "LIMIT_REACHED", "UNSUPPORTED_FILE_TYPE"),
    holds=f"a session, its files, {_ANSWER.holds}",
)
_CHANGE = _writing(_OWNER, "change")
_OPERATORS = _writing(_OPERATOR, "change", beyond=("FORBIDDEN",))
_DOWNLOAD = _reading(_READERS, f"`MAX_FILE_SIZE` bytes, {_TAKEN}; {_UNDER_WAY}", "download")

#: The command that a call gives; `dispatch` asks its bucket. "*": the one that the path names.
GIVES: dict[Call, str] = {
    ("GET", f"{_S}/messages"): "history",
    ("GET", f"{_S}/turns"): "turns",
    ("POST", f"{_S}/messages"): "message",
    ("PATCH", f"{_S}/messages/{{message_id}}"): "edit",
    ("DELETE", f"{_S}/messages/{{message_id}}"): "delete",
    ("POST", f"{_S}/{{command}}"): "*",
}

#: Calls that open a connection: their bucket is asked as for each that does (`server.admission`).
OPENS: frozenset[Call] = frozenset({("GET", f"{_S}/events")})

#: What a call of `CALLS` writes, by its name for `dispatch`: an operation, or a command in another form.
WRITES: dict[Call, str] = {
    ("POST", "/api/chat"): "message",
    ("POST", f"{_S}/messages/stream"): "message",
    ("POST", "/v1/chat/completions"): "message",
    ("POST", "/v1/responses"): "message",
    ("POST", "/v1/responses/{response_id}/cancel"): "stream_cancel",
    ("POST", "/api/ai/chat"): "message",
    ("POST", "/api/ai/chat/{chat_id}/stop"): "stream_cancel",
    ("POST", "/api/ag-ui/{agent_id}"): "message",
    ("POST", "/api/ag-ui/agent/{agent_id}/run"): "message",
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"): "stream_cancel",
    ("POST", "/api/chat/streams/{message_id}/cancel"): "stream_cancel",
    ("POST", "/api/chat/sessions"): "create_session",
    ("PATCH", _S): "change_session",
    ("DELETE", _S): "delete_session",
    ("POST", f"{_S}/extend"): "extend_session",
    ("PUT", f"{_S}/participants/{{user_id}}"): "put_participant",
    ("DELETE", f"{_S}/participants/{{user_id}}"): "remove_participant",
    ("POST", f"{_S}/files"): "upload",
    ("POST", "/api/chat/agents"): "create_agent",
    ("PATCH", "/api/chat/agents/{agent_id}"): "change_agent",
    ("DELETE", "/api/chat/agents/{agent_id}"): "delete_agent",
    ("POST", "/api/server/publish"): "publish",
    ("POST", "/api/server/disconnect"): "disconnect",
    ("DELETE", "/api/server/users/{user_id}"): "erase_user",
    ("POST", _W): "add_webhook",
    ("PATCH", f"{_W}/{{webhook_id}}"): "change_webhook",
    ("DELETE", f"{_W}/{{webhook_id}}"): "delete_webhook",
    ("POST", f"{_W}/{{webhook_id}}/rotate"): "rotate_webhook",
    ("POST", f"{_W}/{{webhook_id}}/replay"): "replay_webhook",
}

CALLS: dict[Call, Bounds] = {
    ("POST", "/api/chat"): replace(
        _ANSWER, caps=(*_ANSWER.caps, SESSIONS), beyond=(*_ANSWER.beyond, "LIMIT_REACHED")
    ),
    ("POST", "/api/chat/sessions"): _writing(
        "users, `service`", "create", SESSIONS, holds="a row", beyond=("LIMIT_REACHED",)
    ),
    ("GET", "/api/chat/sessions"): _reading(_EVERYBODY, "100 sessions a page"),
    ("GET", _S): _reading(_READERS, "500 participants are named"),
    ("PATCH", _S): _CHANGE,
    ("DELETE", _S): _CHANGE,
    ("POST", f"{_S}/extend"): _CHANGE,
    ("GET", f"{_S}/presence"): _reading(_READERS, "1000 users are named"),
    ("PUT", f"{_S}/participants/{{user_id}}"): _writing(
        _OWNER, "participant", PARTICIPANTS, holds="a row", beyond=("LIMIT_REACHED",)
    ),
    ("DELETE", f"{_S}/participants/{{user_id}}"): _writing(
        "its owner, `service`, oneself", "participant", holds="a row"
    ),
    ("GET", f"{_S}/events"): Bounds(
        _READERS,
        "connect",
        f"{PAGE}; {SLOW_READER}",
        (*_REFUSED, "SERVER_FULL"),
        (EVENT_STREAMS,),
        "a connection",
    ),
    ("POST", f"{_S}/messages/stream"): _ANSWER,
    ("GET", "/api/chat/streams/{message_id}"): _STREAM,
    ("POST", "/api/chat/streams/{message_id}/cancel"): _command("stream_cancel"),
    ("GET", "/api/chat/agents"): _reading(_EVERYBODY, "all that there are"),
    ("POST", "/api/chat/agents"): _OPERATORS,
    ("GET", "/api/chat/agents/{agent_id}"): _reading(_EVERYBODY, "one"),
    ("PATCH", "/api/chat/agents/{agent_id}"): _OPERATORS,
    ("DELETE", "/api/chat/agents/{agent_id}"): _OPERATORS,
    ("POST", f"{_S}/files"): _writing(
        "who may write in the session",
        "upload",
        STORED,
        holds="a file, its thumbnail, a row",
        size=(
            f"`MAX_FILE_SIZE` bytes, `WS_MESSAGE_SIZE_LIMIT` of fields together, {WHOLE:g} s, "
            f"{LEAST // 1024} KiB in {SPAN:g} s of waiting; under way on a node {UPLOADING} times as much of "
            f"all; of one user, and of a share link, {UPLOADING_EACH} times, as much as is free, and beyond "
            f"one file none of the last {UPLOADING_LAST} times"
        ),
        beyond=("UNSUPPORTED_FILE_TYPE",),
    ),
    ("GET", "/api/chat/files/{file_id}/url"): _reading(_READERS, "one, for `FILE_URL_TTL`"),
    ("GET", "/files/{file_id}"): _DOWNLOAD,
    ("GET", "/files/{file_id}/thumb"): _DOWNLOAD,
    ("GET", "/api/chat/search"): _reading(
        _EVERYBODY, "256 characters, 16 words; 1000 candidates; one at a time, 4 in line", "search"
    ),
    ("POST", "/api/server/publish"): _OPERATORS,
    ("POST", "/api/server/disconnect"): _OPERATORS,
    ("GET", "/api/server/stats"): _OPERATORS,
    ("GET", "/api/server/connections"): _OPERATORS,
    ("GET", "/api/server/feedback"): _reading(_OPERATOR, "100 a page"),
    ("DELETE", "/api/server/users/{user_id}"): _OPERATORS,
    ("POST", _W): replace(
        _OPERATORS,
        holds=f"a row, {OF_ALL} of all sessions, {OF_SESSION} of one, {WEBHOOKS} in all; "
        f"a row for each session told; {TOGETHER} connections of a node",
        beyond=(*_OPERATORS.beyond, "LIMIT_REACHED"),
    ),
    ("GET", _W): _reading(_OPERATOR, f"{OF_ALL}"),
    ("GET", f"{_W}/{{webhook_id}}"): _reading(_OPERATOR, "one"),
    ("PATCH", f"{_W}/{{webhook_id}}"): _OPERATORS,
    ("DELETE", f"{_W}/{{webhook_id}}"): _OPERATORS,
    ("POST", f"{_W}/{{webhook_id}}/rotate"): _OPERATORS,
    ("POST", f"{_W}/{{webhook_id}}/replay"): _OPERATORS,
    ("GET", f"{_W}/{{webhook_id}}/deliveries"): _reading(
        _OPERATOR, f"100 a page; {LETTERS} that were given up"
    ),
    ("POST", "/v1/chat/completions"): _BEGINNING,
    ("POST", "/v1/responses"): _BEGINNING,
    ("GET", "/v1/responses/{response_id}"): _STREAM,
    ("POST", "/v1/responses/{response_id}/cancel"): _command("stream_cancel"),
    ("GET", "/v1/responses/{response_id}/input_items"): _reading(
        _READERS, f"a question and {HISTORY_MESSAGES} messages brought along"
    ),
    ("POST", "/api/ai/chat"): _CHAT,
    ("GET", "/api/ai/chat/{chat_id}/stream"): _STREAM,
    ("POST", "/api/ai/chat/{chat_id}/stop"): replace(
        _command("stream_cancel"), size=f"{LARGEST // 2**20} MiB"
    ),
    ("GET", "/api/ag-ui/info"): _reading(_EVERYBODY, "all agents that there are"),
    ("POST", "/api/ag-ui/{agent_id}"): _CHAT,
    ("POST", "/api/ag-ui/agent/{agent_id}/run"): _CHAT,
    ("POST", "/api/ag-ui/agent/{agent_id}/connect"): Bounds(
        _READERS,
        "read",
        f"{LARGEST // 2**20} MiB; {PAGE}, `STREAM_MAX_SIZE` bytes; {SLOW_READER}",
        (*_REFUSED, "SERVER_FULL"),
        (REQUESTS, EVENT_STREAMS, READERS),
        "while an answer is open a connection, which counts as `connect` too",
    ),
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"): _command("stream_cancel"),
    ("GET", "/v1/models"): _reading(_EVERYBODY, "all that there are"),
    ("GET", "/v1/models/{model}"): _reading(_EVERYBODY, "one"),
    ("POST", "/api/dev/token"): _unrated(
        "this machine, with `DEBUG`", "for development", PAYLOAD, "FORBIDDEN"
    ),
    ("GET", "/healthz"): _unrated(_EVERYBODY, "a balancer's; it asks nobody"),
    ("GET", "/readyz"): _unrated(_EVERYBODY, "a balancer's", "one question to the database, 3 s"),
    ("GET", "/metrics"): _unrated(
        "with `METRICS_TOKEN`; without one, this machine", "the operator's", beyond="UNAUTHORIZED"
    ),
    ("GET", "/"): _public("page"),
    ("GET", "/web/{name}"): _public("page"),
    ("GET", "/vendor/{name}"): _public("page"),
    ("GET", "/chat/"): _public("page"),
    ("GET", "/chat/{name}"): _public("page"),
    ("GET", "/openapi.json"): _public("page"),
    ("GET", "/asyncapi.json"): _public("page"),
    ("GET", "/docs/{path}"): _public("page"),
}

#: Ways in that are not REST calls. `server.engine.strangers` bounds clients that have shown no token yet.
DOORS: dict[str, Bounds] = {
    "any answer over HTTP": _unrated(
        _EVERYBODY,
        "its request counts until it has left; nobody's weighs as strangers",
        _TAKEN,
        "a closed connection",
    ),
    "a TCP connection": _unrated(
        _EVERYBODY, "the one that is silent the longest goes: see below", _HEAD, "a closed connection"
    ),
    "Socket.IO session, before CONNECT": _unrated(
        _EVERYBODY, "the oldest goes: see below", f"{_HEAD}; `AUTH_TIMEOUT`", "a closed session"
    ),
    "Socket.IO poll and post": _unrated(
        "who opened the session",
        "one of each at a time",
        f"`WS_FRAME_SIZE_LIMIT` bytes, {BODY_TIMEOUT:g} s; {HELD_UP:g} s until all of it is taken; {HELD}",
        "413, 400, 503",
    ),
    "Socket.IO request for another node's session": _unrated(
        _EVERYBODY,
        f"at a time: `WS_MAX_CONNECTIONS` polls and WebSockets, a network 1/{POLLS_EACH} of them "
        f"({POLLS_LEAST} at least); {BODIES // 2**20} MiB of bodies, with other `--workers`; "
        "the oldest goes",
        f"`WS_MESSAGE_SIZE_LIMIT` bytes, {BODY_TIMEOUT:g} s",
        "413, 408; 503 for the oldest body; polls: 429 for the network, 503 for all",
    ),
    **{door: bounds for transport in TRANSPORTS for door, bounds in transport.bounds.items()},
    "`/ws/ai`": replace(
        opening("who may see the session"),
        size=f"{LARGEST // 2**20} MiB a frame, each answer as at `/api/ai/chat`; {SLOW_READER}; {HELD}",
        caps=(REQUESTS, EVENT_STREAMS, READERS),
        beyond=("RATE_LIMIT", "SERVER_FULL", "UNAVAILABLE", "a closed connection"),
    ),
    "`/files/…` with a signature": Bounds(
        "who has the address",
        "signed",
        f"`MAX_FILE_SIZE` bytes, `FILE_URL_TTL`, {_TAKEN}; {_UNDER_WAY}",
        (*_REFUSED, "UNAVAILABLE", "FILE_NOT_FOUND"),
    ),
    "a token that is refused": _unrated(
        _EVERYBODY, f"{FAILURES} a minute and network", f"{HEAD_LIMIT // 1024} KiB", "RATE_LIMIT"
    ),
    "`/admin` CONNECT": _unrated(
        "`ADMIN_PASSWORD`",
        f"{PER_NETWORK} wrong ones a minute and network, then none; 1 where there are {IN_ALL} in all",
        PAYLOAD,
        "`too many attempts`",
    ),
}


def bounds_of(call: Call) -> Bounds:
    """The bounds that the table shows. Raises KeyError for a call that declares nothing."""
    return _command(GIVES[call]) if call in GIVES else CALLS[call]

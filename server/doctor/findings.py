"""The doctor's findings: one for each check, and for each known fault how to mend it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome. `fault` is a stable name, a key of `MENDS`; empty where nothing is wrong."""

    check: str
    state: State
    text: str
    fault: str = ""

    @property
    def mend(self) -> str:
        return MENDS.get(self.fault, "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mend": self.mend}


MENDS = {
    "unreachable": (
        "Check name, port and certificate, and that the proxy listens there and its upstream is up."
    ),
    "not-routed": "The proxy must pass on all paths: /socket.io/, /ws/, /api/, /files/, /healthz, /readyz.",
    "prefix": (
        "Set ROOT_PATH on every node to the path that clients see. The proxy may take the path away before "
        "it passes a request on, or keep it."
    ),
    "not-ready": "See /readyz on the node itself: it names what fails (database, Redis, draining).",
    "clock-skew": (
        "Run NTP on both machines: by these clocks tokens are good or expired, and seconds decide."
    ),
    "plain-http": "Serve it by https: tokens are readable by everyone on the way.",
    "token-refused": (
        "Make one with `python -m server token --sub you` where JWT_SECRET_KEY is the server's own, or take "
        "one from your issuer; JWT_ALGORITHM, JWT_AUDIENCE and JWT_ISSUER must fit it."
    ),
    "authorization-stripped": (
        "The proxy drops or replaces the Authorization header: let it pass (nginx: `proxy_set_header "
        "Authorization $http_authorization;` and no `auth_basic` on these paths)."
    ),
    "query-stripped": (
        "The proxy must pass the query string on unchanged. nginx: `proxy_pass http://parley;` without a "
        "path behind it (or with `$is_args$args`), and no `rewrite … ?;`, whose `?` drops the arguments."
    ),
    "no-upgrade": (
        "The proxy does not pass WebSocket upgrades on. nginx: `proxy_http_version 1.1; proxy_set_header "
        "Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;`. Other proxies: allow "
        "WebSocket (HTTP/1.1 Upgrade) on /socket.io/ and /ws/."
    ),
    "not-sticky": (
        "Requests of one long-polling connection reach different nodes, and these cannot pass them on to "
        "each other: set NODE_URL on every node to the address at which the others reach it (and REDIS_URL "
        "to the common Redis); or make the balancer sticky (nginx: `hash $remote_addr consistent;`, "
        "HAProxy: `cookie`)."
    ),
    "idle-timeout": (
        "The proxy closes connections that are silent for a moment. Its read time-out must be above "
        "WS_HEARTBEAT_INTERVAL + WS_PING_TIMEOUT (45 s by default). nginx: `proxy_read_timeout 60s;`. "
        "HAProxy: `timeout tunnel 1h` and `timeout server 60s`. A cloud's balancer: its idle time-out. "
        "Where it cannot be raised, lower WS_HEARTBEAT_INTERVAL below it."
    ),
    "origin": (
        "The server does not know this origin as its own: set PUBLIC_URL to the address that browsers "
        "show, or add the origin to CORS_ORIGINS, on every node; and let the proxy pass the Origin header "
        "unchanged."
    ),
    "origin-unchecked": (
        "A page of any other origin gets in. The proxy removes or rewrites the Origin header: let it pass "
        "unchanged; or CORS_ORIGINS admits too much."
    ),
    "sse-buffered": (
        "The proxy holds an event stream back until enough has come together. nginx: `proxy_buffering "
        "off;`, no `proxy_ignore_headers X-Accel-Buffering;`, `gzip off;` on these paths. Others: no "
        "response buffering and no compression of text/event-stream."
    ),
    "broken": "Look into the logs of the proxy and of the node at this time.",
}

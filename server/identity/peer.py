"""The other end of a request: its address, page and token, and the name by which it called this server.
Verifies no token."""

import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl

from server.config import Settings
from server.config_rules import is_loopback

Headers = Iterable[tuple[bytes, bytes]]
Source = Literal["header", "subprotocol", "query"]

#: `Sec-Fetch-Mode` as Node.js sends it, without the rest of the fetch metadata: `fetch` and EventSource,
#: `fetch` with that mode, WebSocket (undici 7, Node.js 20).
_MODES_OF_NODE = frozenset((b"cors", b"no-cors", b"websocket"))
_HOST = r"[A-Za-z0-9_.:\[\]-]+"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_OPENING = frozenset((b"authorization", b"origin", b"user-agent", b"x-forwarded-for"))
#: The header of a node's request to another one.
FORWARDED = b"x-parley-forwarded"
FORWARDING_HEADERS = frozenset(
    (
        b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip",
        FORWARDED,
    )
)  # fmt: skip


def bearer_token(
    headers: Headers, query: bytes = b"", subprotocols: Sequence[str] = ()
) -> tuple[str, Source] | None:
    """The token of a request and where it stood: header before subprotocol before `?token=`.

    Give `query` and `subprotocols` only where the contract takes a token there (`request_token` knows).
    """
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip(), "header"
    if len(subprotocols) >= 2 and subprotocols[0].lower() == "bearer":
        return subprotocols[1], "subprotocol"
    if b"token=" in query:
        for field, given in parse_qsl(query.decode("latin-1"), max_num_fields=100):
            if field == "token":
                return given, "query"
    return None


def request_token(scope: Mapping[str, Any]) -> tuple[str, Source] | None:
    """The token of an ASGI request; `?token=` counts only on /ws/, /socket.io/ and the two SSE addresses."""
    path: str = scope["path"]
    in_query = path.startswith(("/ws/", "/socket.io/")) or (
        scope.get("method") == "GET"
        and (
            path.startswith("/api/chat/streams/")
            or (path.startswith("/api/chat/") and path.endswith("/events"))
        )
    )
    subprotocols = scope.get("subprotocols", ()) if path.startswith("/ws/") else ()
    try:
        return bearer_token(scope["headers"], scope["query_string"] if in_query else b"", subprotocols)
    except ValueError:  # more than 100 query fields
        return None


def header(headers: Headers, name: bytes) -> str | None:
    """The first value of the header `name` (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def page_of(headers: Headers) -> str | None:
    """The sign that a page in a browser sent a request: its Origin, or, because a GET of the same origin has
    none, its fetch metadata; None if there is no sign.

    The mode alone shows nothing, unless it is a browser's own: Node.js sends it from backends.
    """
    page = None
    for name, value in headers:
        if name == b"origin":
            return value.decode("latin-1")
        if name.startswith(b"sec-fetch-") and not (name == b"sec-fetch-mode" and value in _MODES_OF_NODE):
            page = name.decode("latin-1")
    return page


def read_at_the_door(headers: Headers) -> list[tuple[bytes, bytes]]:
    """What is asked for of the request that opened a session, once that is answered."""
    return [line for line in headers if line[0] in _OPENING or line[0].startswith(b"sec-fetch-")]


def from_browser(headers: Headers) -> bool:
    """Whether a browser sent a request: all of them call themselves Mozilla, and a page cannot take its
    fetch metadata away."""
    for name, value in headers:
        if name == b"user-agent" and value.lstrip()[:8].lower() == b"mozilla/":
            return True
        if name.startswith(b"sec-fetch-") and not (name == b"sec-fetch-mode" and value in _MODES_OF_NODE):
            return True
    return False


def host_seen(scope: Mapping[str, Any], settings: Settings) -> str | None:
    """Host and port by which the client called: its Host header, or what one of TRUSTED_PROXIES says of it
    (the last word of X-Forwarded-Host, which our own proxy wrote). None where a request has not one Host."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
    if forwarded and by_trusted_proxy(scope, settings):
        hosts = [forwarded[-1].rpartition(b",")[2]]
    return hosts[0].decode("latin-1").strip() if len(hosts) == 1 else None


def scheme_told(scope: Mapping[str, Any], settings: Settings) -> str | None:
    """`http` or `https` as one of TRUSTED_PROXIES says that the client called; None where none says so."""
    if not by_trusted_proxy(scope, settings):
        return None
    said = (header(scope["headers"], b"x-forwarded-proto") or "").rpartition(",")[2].strip().lower()
    return {"ws": "http", "wss": "https"}.get(said, said) if said in ("http", "https", "ws", "wss") else None


def origin_seen(scope: Mapping[str, Any], settings: Settings) -> str:
    """`scheme://host` for addresses that we give out: PUBLIC_URL's, else as the client called; empty where
    neither is known, and behind a proxy that TLS may end at and nobody vouches for."""
    if settings.base is not None:
        return settings.base.removesuffix(settings.root_path)
    host = host_seen(scope, settings)
    forwarded = any(
        name.startswith(b"x-forwarded-") or name in FORWARDING_HEADERS for name, _ in scope["headers"]
    )
    scheme = scheme_told(scope, settings) or ("" if forwarded else scope["scheme"])
    return f"{scheme}://{host}" if scheme and host and re.fullmatch(_HOST, host) else ""


def by_trusted_proxy(scope: Mapping[str, Any], settings: Settings) -> bool:
    """Whether what a request says of who sent it is our own proxy's word."""
    client = scope.get("client")
    return bool(settings.trusted_proxies and client and _trusted(client[0], settings))


def own_port(scope: Mapping[str, Any]) -> int | None:
    """The port that a request came to; None on a Unix socket."""
    server = scope.get("server")
    return server[1] if server else None


def client_address(scope: Mapping[str, Any], settings: Settings) -> str:
    """The client's address: the peer's, or, if that is one of TRUSTED_PROXIES, what it forwarded for.

    X-Forwarded-For is read from its right end, where our own proxies wrote, past the trusted ones only: what
    stands further left is the client's own word. Empty for a peer without an address (a Unix socket).
    """
    return address_behind(scope.get("client"), scope["headers"], settings)


def address_behind(client: tuple[str, int] | None, headers: Headers, settings: Settings) -> str:
    """The same of a request's peer and headers."""
    peer = client[0] if client else ""
    if not settings.trusted_proxies or not _trusted(peer, settings):
        return peer
    listed = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    address = peer
    for entry in reversed(listed.decode("latin-1").split(",")):
        plain = _address(entry.strip())
        if plain is None:
            break
        address = plain
        if not _trusted(address, settings):
            break
    return address


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The bucket that an address is counted in, for every limit that goes by address.

    An IPv4 address is its own, also inside IPv6 (mapped, RFC 4291; translated by NAT64, RFC 6052). IPv6 goes
    by its /64: the smallest network that one subscriber gets, in which he may use any address. What is no
    address (a Unix socket's "") stays as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"


def places(settings: Settings) -> Callable[[str], str]:
    """Where those who have shown no token yet are counted, by address: their network; "" for a proxy of
    ours, by which everybody comes."""
    if not settings.trusted_proxies:
        return network_of
    return lambda address: "" if _trusted(address, settings) else network_of(address)


def _address(entry: str) -> str | None:
    """`entry` of X-Forwarded-For without its port, or None if it is no address."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ipaddress.ip_address(entry))
    except ValueError:
        return None


def _trusted(address: str, settings: Settings) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in settings.trusted_proxies)


def dev_token_allowed(settings: Settings, scope: Mapping[str, Any]) -> bool:
    """Whether a request may be given a development token (contract, section 10).

    Only with DEBUG, and straight from this machine.
    """
    return settings.debug and _from_this_machine(scope)


def metrics_allowed(settings: Settings, scope: Mapping[str, Any]) -> bool:
    """Whether a request may read /metrics: with METRICS_TOKEN as bearer; straight from this machine where
    there is none. A proxy on this machine that adds no header looks like the machine itself."""
    if settings.metrics_token is None:
        return _from_this_machine(scope)
    given = bearer_token(scope["headers"])
    return given is not None and hmac.compare_digest(given[0].encode(), settings.metrics_token.encode())


def _from_this_machine(scope: Mapping[str, Any]) -> bool:
    """A loopback peer that forwards nobody's request, as far as its headers tell, for Host localhost or
    127.0.0.1: a page elsewhere that rebinds its name to 127.0.0.1 still sends its own name as Host."""
    client = scope.get("client")
    if not client or client[0] == "localhost" or not is_loopback(client[0]):
        return False
    if any(name.startswith(b"x-forwarded-") or name in FORWARDING_HEADERS for name, _ in scope["headers"]):
        return False
    hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    host, _, port = hosts[0].partition(":")
    return host in ("localhost", "127.0.0.1") and (not port or port.isdecimal())

"""Origins, client addresses, where a token may stand, and who may ask for development tokens and metrics."""

from typing import Any

import pytest

from server.config import Settings
from server.identity.origins import Origins
from server.identity.peer import (
    bearer_token,
    client_address,
    dev_token_allowed,
    metrics_allowed,
    network_of,
    request_token,
)
from tests.server.test_tokens import KEY


def settings(**environ: str) -> Settings:
    return Settings.load({"JWT_SECRET_KEY": KEY, **environ}, None)


def scope(
    path: str = "/",
    *headers: tuple[str, str],
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    **more: Any,
) -> dict[str, Any]:
    query = more.pop("query", "")
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "query_string": query.encode(),
        "client": client,
        **more,
    }


# Origins.


def test_public_url_and_cors_origins() -> None:
    origins = Origins(settings(PUBLIC_URL="https://chat.example.com/app", CORS_ORIGINS="ws://a.example:81"))
    for origin in ("https://chat.example.com", "https://chat.example.com:443", "http://a.example:81", None):
        assert origins.allowed(origin), origin
    for origin in (
        "http://chat.example.com",
        "https://chat.example.com:8443",
        "https://chat.example.com.evil.example",
        "https://evil.example/https://chat.example.com",
        "https://xchat.example.com",
        "http://a.example",
        "null",
        "",
        "*",
        "file://",
        "http://localhost:8003",
        "http://127.0.0.1:8003",
        "http://[::1",
        "http://a.example:81:81",
        "http://a.example:99999",
    ):
        assert not origins.allowed(origin), origin


def test_nothing_configured_admits_no_page() -> None:
    origins = Origins(settings())
    assert origins.allowed(None)
    assert not origins.allowed("http://localhost:8003")
    assert not origins.allowed("null")


def test_debug_admits_this_machine_on_our_port() -> None:
    origins = Origins(settings(DEBUG="1", SERVICE_PORT="9000"))
    for origin in (
        "http://localhost:9000",
        "http://127.0.0.1:9000",
        "https://localhost:9000",
        "HTTP://LOCALHOST:9000",
    ):
        assert origins.allowed(origin), origin
    for origin in (
        "http://localhost:9001",
        "http://localhost",
        "http://127.0.0.2:9000",
        "null",
        "http://evil:9000",
    ):
        assert not origins.allowed(origin), origin
    assert origins.allowed("http://localhost:9001", own_port=9001)
    assert not origins.allowed("http://localhost:9000", own_port=9001)
    assert Origins(settings(DEBUG="1", SERVICE_PORT="80")).allowed("http://localhost")


# Where a token stands.


def test_header_before_subprotocol_before_query() -> None:
    header = [(b"host", b"x"), (b"authorization", b"Bearer  from-header ")]
    assert bearer_token(header, b"token=q", ("bearer", "s")) == ("from-header", "header")
    assert bearer_token([], b"token=q", ("bearer", "s")) == ("s", "subprotocol")
    assert bearer_token([], b"x=1&token=q%2Eq&y", ()) == ("q.q", "query")
    assert bearer_token([(b"authorization", b"bearer lower")]) == ("lower", "header")


def test_no_token() -> None:
    assert bearer_token([]) is None
    assert bearer_token([(b"authorization", b"Basic dXNlcg==")], b"nottoken=q", ("chat", "v2")) is None
    assert bearer_token([(b"authorization", b"Bearer ")]) is None
    assert bearer_token([], b"token=", ("bearer",)) is None


@pytest.mark.parametrize(
    ("path", "method", "taken"),
    [
        ("/ws/sess_1", "GET", True),
        ("/socket.io/", "GET", True),
        ("/socket.io/", "POST", True),
        ("/api/chat/sessions/sess_1/events", "GET", True),
        ("/api/chat/streams/msg_1", "GET", True),
        ("/api/chat/streams/msg_1/cancel", "POST", False),
        ("/api/chat/sessions", "GET", False),
        ("/api/chat/sessions/sess_1/messages/stream", "POST", False),
        ("/api/server/stats", "GET", False),
        ("/metrics", "GET", False),
    ],
)
def test_the_query_is_read_only_where_clients_have_no_headers(path: str, method: str, taken: bool) -> None:
    found = request_token(scope(path, method=method, query="token=q"))
    assert found == (("q", "query") if taken else None)


def test_the_subprotocol_counts_on_raw_websockets_alone() -> None:
    assert request_token(scope("/ws/s", subprotocols=["bearer", "t"])) == ("t", "subprotocol")
    assert request_token(scope("/socket.io/", subprotocols=["bearer", "t"])) is None
    assert request_token(scope("/ws/s", query="token=q" + "&a=b" * 200)) is None


# Addresses.


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_the_network_that_limits_count(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_peer_that_is_no_proxy_says_nothing_of_itself() -> None:
    given = scope("/", ("X-Forwarded-For", "203.0.113.9"), client=("198.51.100.1", 1))
    assert client_address(given, settings()) == "198.51.100.1"
    assert client_address(given, settings(TRUSTED_PROXIES="10.0.0.0/8")) == "198.51.100.1"
    assert client_address(scope(client=None), settings(TRUSTED_PROXIES="10.0.0.0/8")) == ""


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "10.0.0.1"),
        ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
    ],
)
def test_behind_our_proxies(forwarded: str, address: str) -> None:
    given = scope("/", ("X-Forwarded-For", forwarded), client=("10.0.0.1", 1))
    assert client_address(given, settings(TRUSTED_PROXIES="10.0.0.0/8")) == address


def test_several_headers_are_one_list() -> None:
    given = scope(
        "/", ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9"), client=("::ffff:10.0.0.1", 1)
    )
    assert client_address(given, settings(TRUSTED_PROXIES="10.0.0.0/8")) == "203.0.113.9"


# Guards.

HOST = ("Host", "localhost:8003")


def test_development_tokens() -> None:
    debug = settings(DEBUG="1")
    for host in ("localhost", "localhost:8003", "127.0.0.1", "127.0.0.1:1", "LOCALHOST"):
        assert dev_token_allowed(debug, scope("/", ("Host", host))), host
    assert dev_token_allowed(debug, scope("/", HOST, client=("::1", 1)))


def test_no_development_tokens_without_debug() -> None:
    assert not dev_token_allowed(settings(), scope("/", HOST))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1]",
        "",
        "localhost:x",
        "127.0.0.2",
    ],
)
def test_no_development_tokens_for_a_rebound_name(host: str) -> None:
    assert not dev_token_allowed(settings(DEBUG="1"), scope("/", ("Host", host)))
    assert not dev_token_allowed(settings(DEBUG="1"), scope("/", HOST, ("Host", host)))


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Whatever",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-Parley-Forwarded",
    ],
)
def test_no_development_tokens_through_a_proxy(header: str) -> None:
    assert not dev_token_allowed(settings(DEBUG="1"), scope("/", HOST, (header, "127.0.0.1")))


@pytest.mark.parametrize(
    "client", [None, ("192.0.2.1", 1), ("10.0.0.1", 1), ("", 1), ("localhost", 1), ("::2", 1)]
)
def test_no_development_tokens_from_elsewhere(client: tuple[str, int] | None) -> None:
    assert not dev_token_allowed(settings(DEBUG="1"), scope("/", HOST, client=client))


def test_no_host_no_token() -> None:
    assert not dev_token_allowed(settings(DEBUG="1"), scope("/"))


def test_metrics() -> None:
    with_token, without = settings(METRICS_TOKEN="m-token"), settings()
    right, wrong = ("Authorization", "Bearer m-token"), ("Authorization", "Bearer m-tokem")
    far = ("192.0.2.1", 1)
    assert metrics_allowed(with_token, scope("/", right, client=far))
    assert not metrics_allowed(with_token, scope("/", wrong, client=far))
    assert not metrics_allowed(with_token, scope("/", wrong))
    assert not metrics_allowed(with_token, scope("/", client=far))
    assert not metrics_allowed(without, scope("/", right, client=far))
    assert not metrics_allowed(with_token, scope("/", HOST)), "nor from this machine"
    assert metrics_allowed(without, scope("/", HOST))
    assert metrics_allowed(with_token, scope("/", right, ("Host", "chat.example.com")))
    for name in ("X-Forwarded-For", "X-Parley-Forwarded"):
        assert not metrics_allowed(without, scope("/", HOST, (name, "192.0.2.1")))


def test_no_metrics_for_a_rebound_name() -> None:
    assert not metrics_allowed(settings(), scope("/", ("Host", "evil.example")))
    assert not metrics_allowed(settings(), scope("/", HOST, ("Host", "evil.example")))
    assert not metrics_allowed(settings(), scope("/"))

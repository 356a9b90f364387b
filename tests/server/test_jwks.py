"""Keys of an issuer: rotation, floods of unknown ids, an issuer that is away. Over a real HTTP server."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from events.errors import Unauthorized, Unavailable
from server.config import Settings
from server.identity import jwks
from server.identity.auth import Authenticator
from server.identity.jwks import MAX_KEYS, REFRESH, RETRY, UNKNOWN_EVERY, usable_keys
from tests.server.test_tokens import KEY, NOW, RSA, RSA_OTHER, Clock, signed
from tests.support.doors import KINDS
from tests.support.refusals import refusal
from tests.support.server import Server

FIRST, SECOND = RSA, RSA_OTHER


def jwk(key: Any, kid: str | None, **fields: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    made: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return {**made, **({"kid": kid} if kid else {}), **fields}


class Issuer:
    """A JWKS address on loopback. `answer` is what it serves: keys, or a status and a body."""

    def __init__(self) -> None:
        self.answer: Any = [jwk(FIRST, "first")]
        self.asked = 0
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.reached.set()
                outer.gate.wait(10)
                status, body = 200, b""
                if isinstance(outer.answer, list):
                    body = json.dumps({"keys": outer.answer}).encode()
                else:
                    status, body = outer.answer
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_of(url: str, **more: str) -> dict[str, str]:
    issued = {"JWT_AUDIENCE": "parley", "JWT_ISSUER": "https://id.example.com"}
    return {"JWT_ALGORITHM": "RS256", "JWT_JWKS_URL": url, "SECRET_KEY": KEY, **issued, **more}


@pytest.fixture
def by(issuer: Issuer, clock: Clock) -> Authenticator:
    environ = keys_of(issuer.url)
    return Authenticator(Settings.load(environ, None), lambda: NOW, monotonic=clock)


def token(key: Any = FIRST, kid: str | None = "first", **claims: Any) -> str:
    issued = {"aud": "parley", "iss": "https://id.example.com"}
    return signed({**issued, **claims}, key, "RS256", **({"kid": kid} if kid else {}))


async def test_keys_are_fetched_once(by: Authenticator, issuer: Issuer) -> None:
    assert by.authenticate_now(token()) is None, "it must wait for the key"
    assert (await by.authenticate(token())).sub == "alice"
    assert by.authenticate_now(token(sub="bob")) is not None
    assert issuer.asked == 1


async def test_many_at_once_share_a_fetch(by: Authenticator, issuer: Issuer) -> None:
    issuer.gate.clear()
    waiting = [asyncio.create_task(by.authenticate(token(sub=f"u{n}"))) for n in range(50)]
    async with asyncio.timeout(10):
        await asyncio.to_thread(issuer.reached.wait, 10)
        issuer.gate.set()
        assert len({caller.sub for caller in await asyncio.gather(*waiting)}) == 50
    assert issuer.asked == 1


async def test_one_who_gives_up_does_not_take_the_others_fetch_along(
    by: Authenticator, issuer: Issuer
) -> None:
    issuer.gate.clear()
    first, second = (asyncio.create_task(by.authenticate(token(sub=sub))) for sub in ("a", "b"))
    async with asyncio.timeout(10):
        await asyncio.to_thread(issuer.reached.wait, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        issuer.gate.set()
        assert (await second).sub == "b"


async def test_a_new_key_is_found(by: Authenticator, issuer: Issuer, clock: Clock) -> None:
    await by.authenticate(token())
    issuer.answer = [jwk(FIRST, "first"), jwk(SECOND, "second")]
    with pytest.raises(Unauthorized):
        await by.authenticate(token(SECOND, "second"))
    clock.now += UNKNOWN_EVERY
    assert await by.authenticate(token(SECOND, "second"))
    assert issuer.asked == 2


async def test_a_flood_of_unknown_keys_asks_once_a_minute(
    by: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    await by.authenticate(token())
    clock.now += UNKNOWN_EVERY
    for minute in (1, 2):
        for n in range(20):
            with pytest.raises(Unauthorized):
                await by.authenticate(token(SECOND, f"kid-{minute}-{n}"))
            clock.now += 1
        assert issuer.asked == 1 + minute
        assert await by.authenticate(token()), "known keys are not held up"
        clock.now += UNKNOWN_EVERY - 20


async def test_a_withdrawn_key_dies(by: Authenticator, issuer: Issuer, clock: Clock) -> None:
    remembered = token()
    await by.authenticate(remembered)
    issuer.answer = [jwk(SECOND, "second")]
    assert await by.authenticate(remembered)
    clock.now += REFRESH + 1
    with pytest.raises(Unauthorized):
        await by.authenticate(remembered)


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (404, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"keys": 1}'),
        (200, b"[" * 5000),
    ],
)
async def test_an_issuer_without_keys_is_unavailable(
    by: Authenticator, issuer: Issuer, clock: Clock, answer: Any
) -> None:
    issuer.answer = answer
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await by.authenticate(token())
        assert caught.value.retryable and caught.value.retry_after
    assert issuer.asked == 1, "not once per attempt"
    issuer.answer = [jwk(FIRST, "first")]
    clock.now += RETRY
    assert await by.authenticate(token())


async def test_nobody_listens_there(clock: Clock) -> None:
    by = Authenticator(Settings.load(keys_of("http://127.0.0.1:9/"), None), lambda: NOW, monotonic=clock)
    with pytest.raises(Unavailable):
        await by.authenticate(token())


async def test_an_outage_locks_out_nobody_whose_key_is_known(
    by: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    await by.authenticate(token())
    issuer.answer = (503, b"")
    clock.now += REFRESH + 1
    assert await by.authenticate(token(sub="bob"))
    with pytest.raises(Unavailable):
        await by.authenticate(token(SECOND, "second"))


async def test_a_token_without_kid_needs_a_set_of_one(
    by: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    assert await by.authenticate(token(kid=None))
    issuer.answer = [jwk(FIRST, "first"), jwk(SECOND, "second")]
    clock.now += REFRESH + 1
    with pytest.raises(Unauthorized):
        await by.authenticate(token(kid=None))


async def test_what_is_no_token_fetches_nothing(by: Authenticator, issuer: Issuer) -> None:
    for wrong in ("", "x", "a.b.c", signed({})):
        with pytest.raises(Unauthorized):
            await by.authenticate(wrong)
    assert issuer.asked == 0


def test_only_fitting_keys_count() -> None:
    small = rsa.generate_private_key(65537, 1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    document = {
        "keys": [
            jwk(FIRST, "good", use="sig", alg="RS256"),
            jwk(FIRST, "for encryption", use="enc"),
            jwk(FIRST, "another algorithm", alg="RS512"),
            jwk(small, "small"),
            jwk(curve, "curve"),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": 1},
            {"kid": "empty"},
            "no object",
        ]
    }
    assert set(usable_keys(document, "RS256")) == {"good", None}
    assert set(usable_keys(document, "ES256")) == {"curve", None}
    assert set(usable_keys({"keys": [jwk(FIRST, "a"), jwk(SECOND, "b")]}, "RS256")) == {"a", "b"}


@pytest.mark.parametrize("more", [0, 1])
async def test_a_set_has_so_many_keys_and_is_read_in_a_thread(
    by: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    known, threads = usable_keys, []

    def noted(document: Any, algorithm: str) -> dict[str | None, Any]:
        threads.append(threading.current_thread())
        return known(document, algorithm)

    monkeypatch.setattr(jwks, "usable_keys", noted)
    issuer.answer = [jwk(FIRST, f"key-{number}") for number in range(MAX_KEYS + more)]
    if more:
        with pytest.raises(Unavailable):
            await by.authenticate(token(kid="key-7"))
    else:
        assert (await by.authenticate(token(kid="key-7"))).sub == "alice"
    assert threads
    assert threading.current_thread() not in threads


def test_an_issuer_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no silence: the whole of it has a time, too."""
    monkeypatch.setattr(jwks, "WHOLE", 0.2)

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.02)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(TimeoutError):
            jwks.fetch_url(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()


async def test_nobody_waits_for_ever_for_an_issuer(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(jwks, "WHOLE", 0.05)
    monkeypatch.setattr(jwks, "TIMEOUT", 0.05)
    release = threading.Event()
    keys = jwks.Jwks("http://127.0.0.1:9/", "RS256", clock, lambda _: str(release.wait(10)).encode())
    try:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await keys.key("first")
    finally:
        release.set()


async def test_a_token_for_another_application_of_the_issuer(
    sqlite_url: str, new_server: Callable[..., Server], issuer: Issuer
) -> None:
    """Rightly signed, and refused at every door; an ID token, too, where the type is asked."""
    node = new_server(sqlite_url, **keys_of(issuer.url, JWT_TYP="at+jwt"))
    typed: dict[str, Any] = {"kid": "first", "typ": "at+jwt"}
    claims = {"exp": time.time() + 60, "aud": "parley", "iss": "https://id.example.com"}
    good = signed(claims, FIRST, "RS256", **typed)
    async with node.api(None) as api:
        made = await api.post("/api/chat/sessions", json={}, headers={"Authorization": f"Bearer {good}"})
        session = made.json()["session_id"]
    for token in (
        signed({**claims, "aud": "another"}, FIRST, "RS256", **typed),
        signed({**claims, "iss": "https://id.example.org"}, FIRST, "RS256", **typed),
        signed(claims, FIRST, "RS256", kid="first"),
    ):
        for kind in KINDS:
            found = await refusal(kind, node, token, session)
            assert found.code in ("UNAUTHORIZED", None if kind == "websocket" else "UNAUTHORIZED")
            assert found.closed in (None, 4001)

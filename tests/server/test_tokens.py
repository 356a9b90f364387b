"""Tokens: what is accepted, what is refused and as what; hostile ones above all."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from events.access import Caller
from events.errors import ChatError, Forbidden, RateLimited, TokenExpired, Unauthorized
from server.config import Settings
from server.identity.auth import Authenticator, FailedTokens
from server.identity.tokens import mint

KEY = "Zb7uX1vQ9tLr4mKp8wYc2nHd6sGf3jEa"
OTHER = "q0Wm5Rk2Vx8Ty1Ub6Ni3Oc9Pz4La7SdE"
NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
RSA_OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def pem(key: Any) -> str:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found.decode()


def settings(**environ: str) -> Settings:
    return Settings.load({"JWT_SECRET_KEY": KEY, **environ}, None)


def authenticator(**environ: str) -> Authenticator:
    return Authenticator(settings(**environ), Clock())


def signed(claims: dict[str, Any], key: Any = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": NOW + 60, **claims}, key, algorithm, headers or None)


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def refused(by: Authenticator, token: str, error: type[ChatError] = Unauthorized) -> str:
    with pytest.raises(error) as caught:
        await by.authenticate(token)
    assert type(caught.value) is error
    return caught.value.text


async def test_a_caller_with_everything() -> None:
    token = signed(
        {
            "role": "agent",
            "sub": "7",
            "name": "Echo",
            "iat": NOW - 5,
            "sessions": ["sess_a", "sess_b", "sess_a"],
            "session_role": "member",
        }
    )
    assert await authenticator().authenticate(token) == Caller(
        role="agent",
        sub="7",
        name="Echo",
        sessions=frozenset({"sess_a", "sess_b"}),
        session_role="member",
        expires_at=NOW + 60,
        issued_at=NOW - 5,
    )


async def test_the_least_there_can_be() -> None:
    caller = await authenticator().authenticate(signed({}))
    assert caller == Caller(role="user", sub="alice", expires_at=NOW + 60)
    assert caller.identity == ("user", "alice")


@pytest.mark.parametrize("role", ["admin", "Service", "", None, 7, ["service"], {"service": 1}])
async def test_an_unknown_role_is_a_user(role: Any) -> None:
    assert (await authenticator().authenticate(signed({"role": role}))).role == "user"


@pytest.mark.parametrize("session_role", ["owner", "viewer", "Member", None, 1, ["member"]])
async def test_a_share_link_is_a_viewer_unless_it_says_member(session_role: Any) -> None:
    caller = await authenticator().authenticate(signed({"sessions": ["s"], "session_role": session_role}))
    assert caller.session_role == "viewer"


@pytest.mark.parametrize("sessions", [None, "sess_a", [1], ["a", None], {"a": 1}, 0])
async def test_a_restriction_that_cannot_be_read_is_not_dropped(sessions: Any) -> None:
    await refused(authenticator(), signed({"sessions": sessions}))


async def test_no_sessions_are_no_sessions() -> None:
    assert (await authenticator().authenticate(signed({"sessions": []}))).sessions == frozenset()


@pytest.mark.parametrize("sub", ["", 7, None, True, ["alice"], "x" * 256, "a\0b"])
async def test_sub_must_be_text(sub: Any) -> None:
    token = jwt.api_jws.PyJWS().encode(json.dumps({"sub": sub, "exp": NOW + 60}).encode(), KEY, "HS256")
    await refused(authenticator(), token)


NO_AGENTS = ("01", "0", "-1", "+1", " 1", "1 ", "1.0", "1e1", "1_0", "\uff11", "\u0661", "\u00b2", "x", "1\n")


@pytest.mark.parametrize("sub", [*NO_AGENTS, "9" * 30, str(2**31), "agent:1"])
async def test_an_agent_has_one_spelling(sub: str) -> None:
    assert "agent" in await refused(authenticator(), signed({"role": "agent", "sub": sub}))
    assert (await authenticator().authenticate(signed({"sub": sub}))).sub == sub, "a user's is any text"
    with pytest.raises(ValueError, match="agent"):
        mint(settings(), sub, "agent")


@pytest.mark.parametrize("sub", ["1", "42", str(2**31 - 1)])
async def test_an_agent_is_a_number(sub: str) -> None:
    caller = await authenticator().authenticate(signed({"role": "agent", "sub": sub}))
    assert (caller.sub, caller.agent_id, caller.key) == (sub, int(sub), f"agent:{sub}")


@pytest.mark.parametrize(
    ("role", "prefix", "most"), [("service", "", 255 - 8), ("user", "agent:", 255 - 5), ("user", "", 255)]
)
async def test_a_key_fits_its_column(role: str, prefix: str, most: int) -> None:
    longest = prefix + "x" * (most - len(prefix))
    assert len((await authenticator().authenticate(signed({"role": role, "sub": longest}))).key) == 255
    await refused(authenticator(), signed({"role": role, "sub": longest + "x"}))


async def test_sub_is_needed_and_may_be_long() -> None:
    await refused(authenticator(), jwt.encode({"exp": NOW + 60}, KEY))
    assert (await authenticator().authenticate(signed({"sub": "ü" * 255}))).sub == "ü" * 255


@pytest.mark.parametrize("name", [7, None, ["x"], "a\0b"])
async def test_a_name_that_is_none_is_left_out(name: Any) -> None:
    assert (await authenticator().authenticate(signed({"name": name}))).name is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada\nroot: ok", "Ada root: ok"),
        ("\u202eadA\x1b[2J", " adA [2J"),
        ("\u0646\u06cc\u0645\u200c\u0641 \U0001f469\u200d\U0001f4bb", None),
    ],
)
async def test_a_name_is_one_line_and_turns_nothing_around(name: str, shown: str | None) -> None:
    assert (await authenticator().authenticate(signed({"name": name}))).name == (shown or name)


# Times.


async def test_expiry() -> None:
    by = authenticator()
    await refused(by, signed({"exp": NOW}), TokenExpired)
    await refused(by, signed({"exp": NOW - 3600}), TokenExpired)
    assert (await by.authenticate(signed({"exp": NOW + 0.5}))).expires_at == NOW + 0.5


@pytest.mark.parametrize("exp", ["soon", str(NOW + 60), None, True, [NOW + 60], {}])
async def test_exp_must_be_a_number(exp: Any) -> None:
    token = jwt.api_jws.PyJWS().encode(json.dumps({"sub": "a", "exp": exp}).encode(), KEY, "HS256")
    await refused(authenticator(), token)


async def test_exp_is_needed() -> None:
    assert "exp" in await refused(authenticator(), jwt.encode({"sub": "alice"}, KEY))


@pytest.mark.parametrize("exp", [b"1e999", b"NaN", b"Infinity", b"-1", b"0"])
async def test_exp_out_of_this_world(exp: bytes) -> None:
    token = jwt.api_jws.PyJWS().encode(b'{"sub": "a", "exp": ' + exp + b"}", KEY, "HS256")
    with pytest.raises((Unauthorized, TokenExpired)):
        await authenticator().authenticate(token)


async def test_a_far_expiry_still_fits_a_timestamp() -> None:
    token = jwt.api_jws.PyJWS().encode(b'{"sub": "a", "exp": 1e300}', KEY, "HS256")
    assert (await authenticator().authenticate(token)).expires_at == 253402300799


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_not_yet(claim: str) -> None:
    by = authenticator()
    await refused(by, signed({claim: NOW + 30}))
    assert await by.authenticate(signed({claim: NOW + 3})), "clocks differ by seconds"
    for wrong in ("x", None, [1]):
        token = jwt.api_jws.PyJWS().encode(
            json.dumps({"sub": "a", "exp": NOW + 60, claim: wrong}).encode(), KEY, "HS256"
        )
        await refused(by, token)


async def test_a_remembered_token_still_expires() -> None:
    clock = Clock()
    by = Authenticator(settings(JWT_ALGORITHM="ES256", JWT_PUBLIC_KEY=pem(EC)), clock)
    token = signed({}, EC, "ES256")
    assert by.authenticate_now(token) is by.authenticate_now(token)
    clock.now += 61
    await refused(by, token, TokenExpired)
    await refused(by, token, TokenExpired)


# Audience and issuer.


async def test_audience() -> None:
    by = authenticator(JWT_AUDIENCE="parley")
    assert await by.authenticate(signed({"aud": "parley"}))
    assert await by.authenticate(signed({"aud": ["other", "parley"]}))
    for wrong in (
        {},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"parley": 1}},
        {"aud": "parley2"},
        {"aud": []},
    ):
        await refused(by, signed(wrong))


@pytest.mark.parametrize("aud", ["anybody", "", [], ["a", "b"], None, 7])
async def test_a_token_for_an_audience_is_for_it_alone(aud: Any) -> None:
    """RFC 7519, 4.1.3: who is not named in a claim that is there has to refuse the token."""
    token = jwt.api_jws.PyJWS().encode(
        json.dumps({"sub": "a", "exp": NOW + 60, "aud": aud}).encode(), KEY, "HS256"
    )
    assert "JWT_AUDIENCE" in await refused(authenticator(), token)
    for everybody in ("any", "*", "ANY"):
        assert await authenticator(JWT_AUDIENCE=everybody).authenticate(token)
        assert await authenticator(JWT_AUDIENCE=everybody).authenticate(signed({}))


async def test_any_issuer() -> None:
    for everybody in ("any", "*"):
        by = authenticator(JWT_ISSUER=everybody)
        assert await by.authenticate(signed({"iss": "https://id.example.org"}))
        assert await by.authenticate(signed({}))


async def test_the_type_of_a_token() -> None:
    """RFC 8725, 3.11: a token of the same issuer for another purpose is no access token."""
    for configured in ("at+jwt", "AT+JWT", "application/at+jwt"):
        for key, algorithm, more in (
            (KEY, "HS256", {}),
            (EC, "ES256", {"JWT_ALGORITHM": "ES256", "JWT_PUBLIC_KEY": pem(EC)}),
        ):
            by = authenticator(JWT_TYP=configured, **more)
            for right in ("at+jwt", "At+JWT", "application/at+jwt", "Application/AT+jwt"):
                for _ in range(2):  # also where the header is known
                    assert await by.authenticate(signed({}, key, algorithm, typ=right)), right
            for wrong in ("JWT", "at+jwt ", "text/at+jwt", "at+jwt2", "", None, 7, ["at+jwt"]):
                token = signed({}, key, algorithm, typ=wrong)
                assert "typ" in await refused(by, token), wrong
    assert await authenticator().authenticate(signed({}, typ="anything")), "not configured, not asked"
    own, _ = mint(settings(JWT_TYP="at+jwt"), "alice", now=NOW)
    assert await authenticator(JWT_TYP="at+jwt").authenticate(own)


async def test_issuer() -> None:
    by = authenticator(JWT_ISSUER="https://id.example.com")
    assert await by.authenticate(signed({"iss": "https://id.example.com"}))
    for wrong in ({}, {"iss": "https://id.example.org"}):
        await refused(by, signed(wrong))


# Signatures.


def tampered_payload(token: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{segment({'sub': 'mallory', 'role': 'service', 'exp': NOW + 60})}.{signature}"


HOSTILE: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "a word": lambda: "token",
    "two parts": lambda: ".".join(signed({}).split(".")[:2]),
    "four parts": lambda: signed({}) + ".x",
    "another key": lambda: signed({}, OTHER),
    "a longer algorithm": lambda: signed({}, KEY * 2, "HS512"),
    "no algorithm": lambda: f"{segment({'alg': 'none'})}.{segment({'sub': 'a', 'exp': NOW + 60})}.",
    "NONE": lambda: f"{segment({'alg': 'NONE', 'typ': 'JWT'})}.{segment({'sub': 'a', 'exp': NOW + 60})}.",
    "no signature": lambda: signed({}).rpartition(".")[0] + ".",
    "half a signature": lambda: signed({})[:-20],
    "a changed payload": lambda: tampered_payload(signed({})),
    "not ASCII": lambda: signed({})[:-1] + "é",
    "a line end": lambda: signed({}) + "\n",
    "spaces": lambda: " " + signed({}),
    "padding": lambda: signed({}) + "=",
    "huge": lambda: signed({"name": "x" * 20_000}),
    "claims that are a list": lambda: jwt.api_jws.PyJWS().encode(b"[1]", KEY, "HS256"),
    "claims that are no JSON": lambda: jwt.api_jws.PyJWS().encode(b"sub=alice", KEY, "HS256"),
    "claims nested without end": lambda: jwt.api_jws.PyJWS().encode(b"[" * 5000, KEY, "HS256"),
    "a lone surrogate": lambda: jwt.api_jws.PyJWS().encode(
        b'{"sub": "\\ud800", "exp": 1900000000}', KEY, "HS256"
    ),
    "a critical extension": lambda: signed({}, crit=["x"], x=1),
    "a detached payload": lambda: signed({}, b64=False, crit=["b64"]).replace("..", "."),
    "a header that is a list": lambda: f"{segment([1])}.{segment({})}.{segment(b'x')}",
    "a kid that is a number": lambda: f"{segment({'alg': 'HS256', 'kid': 7})}.{segment({})}.{segment(b'x')}",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_tokens(name: str) -> None:
    fresh, used = authenticator(), authenticator()
    await used.authenticate(signed({}))  # the way of tokens whose header is known
    for by in (fresh, used):
        await refused(by, HOSTILE[name]())


async def test_a_known_header_does_not_vouch_for_a_signature() -> None:
    by = authenticator()
    token = signed({})
    await by.authenticate(token)
    head, body, signature = token.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    await refused(by, f"{head}.{body}.{flipped}")
    await refused(by, f"{head}.{body}")
    await refused(by, f"{head}.{signature}")
    # The last character of a signature has bits that do not count: only one spelling is taken.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    near = letters[letters.index(signature[-1]) ^ 1]
    await refused(by, f"{head}.{body}.{signature[:-1]}{near}")


async def test_key_confusion() -> None:
    """A public key as the secret of an HMAC; and the reverse, a secret where a public key belongs."""
    by = authenticator(JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=pem(RSA))
    public = pem(RSA).encode()
    import hashlib
    import hmac

    for key in (public, public.strip(), KEY.encode()):
        start = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment({'sub': 'a', 'exp': NOW + 60})}"
        forged = f"{start}.{segment(hmac.digest(key, start.encode(), hashlib.sha256))}"
        assert "RS256" in await refused(by, forged)
        start = f"{segment({'alg': 'RS256', 'typ': 'JWT'})}.{segment({'sub': 'a', 'exp': NOW + 60})}"
        forged = f"{start}.{segment(hmac.digest(key, start.encode(), hashlib.sha256))}"
        await refused(by, forged)
    assert "HS256" in await refused(authenticator(), signed({}, RSA, "RS256"))


async def test_a_key_in_the_token_is_not_trusted() -> None:
    by = authenticator(JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=pem(RSA))
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_OTHER.public_key()))
    await refused(by, signed({}, RSA_OTHER, "RS256", jwk=own))
    await refused(by, signed({}, RSA_OTHER, "RS256", jku="https://evil.example/jwks.json", kid="x"))
    await refused(by, signed({}, RSA_OTHER, "RS256", x5u="https://evil.example/x.pem"))


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC)])
async def test_public_keys(algorithm: str, key: Any) -> None:
    by = authenticator(JWT_ALGORITHM=algorithm, JWT_PUBLIC_KEY=pem(key))
    assert (await by.authenticate(signed({}, key, algorithm))).sub == "alice"
    assert by.authenticate_now(signed({}, key, algorithm)) is not None
    await refused(by, tampered_payload(signed({}, key, algorithm)))
    await refused(by, signed({}, RSA_OTHER, "RS256"))


# Services, revocation.


async def test_a_service_token_stays_behind_the_scenes() -> None:
    by = authenticator()
    token = signed({"role": "service"})
    for _ in range(2):  # also when it is remembered
        assert (await by.authenticate(token)).role == "service"
        with pytest.raises(Forbidden):
            await by.authenticate(token, [(b"origin", b"https://chat.example.com")])
        with pytest.raises(Forbidden):
            await by.authenticate(token, from_query=True)
        assert await by.authenticate(signed({}), [(b"origin", b"https://chat.example.com")], from_query=True)


async def test_revoked_tokens() -> None:
    revoked: set[str] = set()
    by = Authenticator(settings(), Clock(), revoked=lambda caller: caller.key in revoked)
    roles: list[dict[str, Any]] = [{}, {"role": "agent", "sub": "7"}, {"role": "service"}]
    tokens = [signed(role) for role in roles]
    for token in tokens:
        assert await by.authenticate(token)
    for number, key in enumerate(("alice", "agent:7", "service:alice")):
        # An agent or a service of the same name is somebody else.
        revoked.clear()
        revoked.add(key)
        assert "revoked" in await refused(by, tokens[number])
        for other in tokens[:number] + tokens[number + 1 :]:
            assert await by.authenticate(other)


# Failures are counted.


async def test_failed_tokens_are_limited_by_address() -> None:
    by = Authenticator(settings(), Clock(), monotonic=Clock())
    for _ in range(30):
        with pytest.raises(Unauthorized):
            await by.authenticate("wrong", address="192.0.2.1")
    with pytest.raises(RateLimited) as caught:
        await by.authenticate("wrong", address="192.0.2.1")
    assert 0 < (caught.value.retry_after or 0) <= 2001
    with pytest.raises(TokenExpired):  # rightly signed: its client knows what to do
        await by.authenticate(signed({"exp": NOW - 1}), address="192.0.2.1")
    assert await by.authenticate(signed({}), address="192.0.2.1"), "a right token is never refused"
    with pytest.raises(Unauthorized):
        await by.authenticate("wrong", address="192.0.2.2")


async def test_expired_tokens_are_no_guesses() -> None:
    by = Authenticator(settings(), Clock(), monotonic=Clock())
    for _ in range(60):
        with pytest.raises(TokenExpired):
            await by.authenticate(signed({"exp": NOW - 1}), address="192.0.2.1")
    with pytest.raises(Unauthorized):
        await by.authenticate("wrong", address="192.0.2.1")


async def test_expired_is_said_of_tokens_that_were_all_right_alone() -> None:
    by = authenticator(JWT_AUDIENCE="parley")
    await refused(by, signed({"exp": NOW - 1, "aud": "another"}))
    await refused(by, signed({"exp": NOW - 1, "aud": "parley"}, OTHER))
    await refused(by, signed({"exp": NOW - 1, "aud": "parley"}), TokenExpired)


async def test_an_ipv6_subscriber_has_one_share_of_failures() -> None:
    by = Authenticator(settings(), Clock(), monotonic=Clock())
    for number in range(30):
        with pytest.raises(Unauthorized):
            await by.authenticate("wrong", address=f"2001:db8:1:2::{number:x}")
    with pytest.raises(RateLimited):
        await by.authenticate("wrong", address="2001:db8:1:2:ffff::1")
    with pytest.raises(Unauthorized):
        await by.authenticate("wrong", address="2001:db8:1:3::1")


async def test_limits_can_be_off() -> None:
    by = authenticator(RATE_LIMIT_ENABLED="false")
    for _ in range(100):
        with pytest.raises(Unauthorized):
            await by.authenticate("wrong", address="192.0.2.1")


def test_failures_are_forgotten_with_time_and_bounded() -> None:
    clock = Clock()
    failed = FailedTokens(clock, limit=2, networks=3)
    failed.failed("a")
    failed.failed("a")
    with pytest.raises(RateLimited):
        failed.failed("a")
    clock.now += 30
    failed.failed("a")
    with pytest.raises(RateLimited) as caught:
        failed.failed("a")
    assert caught.value.retry_after == pytest.approx(30_000, abs=2)
    for address in "bcd":
        failed.failed(address)
    failed.failed("a")  # forgotten: three others came since
    assert len(failed._buckets._buckets) == 3


# Minting.


async def test_mint_makes_what_authenticate_takes() -> None:
    given = settings(JWT_AUDIENCE="parley", JWT_ISSUER="us")
    token, expires_at = mint(
        given, "7", "agent", "Alice", ["s1", "s2"], 90, session_role="member", now=NOW + 0.1234
    )
    assert expires_at == pytest.approx(NOW + 90.123)
    clock = Clock()
    clock.now += 1
    caller = await Authenticator(given, clock).authenticate(token)
    assert caller == Caller(
        "agent",
        "7",
        "Alice",
        sessions=frozenset({"s1", "s2"}),
        session_role="member",
        expires_at=expires_at,
        issued_at=pytest.approx(NOW + 0.123),
    )


def test_mint_refuses_what_it_cannot_make() -> None:
    with pytest.raises(ValueError, match="private key"):
        mint(settings(JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=pem(RSA)), "alice")
    for sub in ("", "x" * 256, "a\0"):
        with pytest.raises(ValueError, match="sub"):
            mint(settings(), sub)

"""Reads tokens: signature and claims to a `Caller`; and makes them. Fetches nothing."""

import hmac
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import jwt
import orjson

from events.access import Caller
from events.errors import TokenExpired, Unauthorized
from events.identity import Role, fault_of
from events.ids import base64url, from_base64url
from events.labels import label
from server.config import Settings
from server.config_values import ANY, media_type
from storage.tables import AVATAR_LENGTH, NAME_LENGTH

LEEWAY = 5.0
"""Seconds by which an issuer's clock may run ahead of ours (`nbf`, `iat`). Expiry gets none."""
LAST_TIME = 253_402_300_799.0
"""The end of the year 9999: a later expiry would not fit a timestamp."""
MAX_TOKEN = 16_384
"""Bytes. Request heads are bounded anyhow; this bounds what a CONNECT packet or `auth_refresh` may bring."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""RFC 7515, 7.1, without padding; libraries take more spellings of one token than there should be."""
_ADDRESS = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#\\][^\s]*")
"""An address of a picture, as a source's in a message (`events.parts.Url`)."""
_MAX_HEADERS = 64
"""Header segments remembered. An issuer has one or two; more are somebody's play."""


class Verifier:
    """Checks signatures by the configured algorithm alone, then the claims (contract, section 1)."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._algorithm = settings.jwt_algorithm
        self._audience = settings.jwt_audience
        self._issuer = settings.jwt_issuer
        self._typ = settings.jwt_typ
        self._jws = jwt.PyJWS(algorithms=[self._algorithm])
        self._secret = (settings.jwt_secret_key or "").encode()
        self._good_headers: set[bytes] = set()

    def header(self, token: str) -> dict[str, Any]:
        """The header, not verified: for choosing a key by `kid`. Raises `Unauthorized`."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise Unauthorized("the token is malformed") from None
        if header.get("alg") != self._algorithm:
            raise Unauthorized(f"the token is not signed with {self._algorithm}")
        return header

    def caller(self, token: str, key: Any = None) -> Caller:
        """The caller whom `token` names; `key` is the public key, None for the shared secret.

        Raises `Unauthorized` or `TokenExpired`.
        """
        if len(token) > MAX_TOKEN:
            raise Unauthorized("the token is too long")
        if _COMPACT.fullmatch(token) is None:
            raise Unauthorized("the token is malformed")
        raw = token.encode()
        payload = self._by_secret(raw) if key is None else self._by_library(raw, key)
        try:
            claims = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise Unauthorized("the token's claims are not JSON") from None
        if not isinstance(claims, dict):
            raise Unauthorized("the token's claims are not a JSON object")
        return self._claims(claims)

    def _by_secret(self, raw: bytes) -> bytes:
        """The verified payload of an HS256 token.

        PyJWT takes 18 µs a token, most of it for the header, which is the same in all tokens of an issuer.
        So a header that PyJWT has once accepted is known by its bytes; what is left is the signature.
        """
        signed, _, signature = raw.rpartition(b".")
        head, _, body = signed.partition(b".")
        if head in self._good_headers:
            digest = hmac.digest(self._secret, signed, "sha256")
            if not hmac.compare_digest(base64url(digest), signature):
                raise Unauthorized("the token's signature is wrong")
            try:
                return from_base64url(body)
            except ValueError:
                raise Unauthorized("the token is malformed") from None
        payload = self._by_library(raw, self._secret)
        if len(self._good_headers) < _MAX_HEADERS:
            self._good_headers.add(head)
        return payload

    def _by_library(self, raw: bytes, key: Any) -> bytes:
        try:
            payload: bytes = self._jws.decode(raw, key, algorithms=[self._algorithm])
        except jwt.InvalidAlgorithmError:
            raise Unauthorized(f"the token is not signed with {self._algorithm}") from None
        except jwt.InvalidSignatureError:
            raise Unauthorized("the token's signature is wrong") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthorized("the token is malformed") from None
        if self._typ is not None:
            typ = self.header(raw.decode()).get("typ")
            if not isinstance(typ, str) or media_type(typ) != self._typ:
                raise Unauthorized(f"the token's typ is not {self._typ}")
        return payload

    def _claims(self, claims: dict[str, Any]) -> Caller:
        now = self._clock()
        expires_at = _time(claims, "exp")
        if expires_at is None:
            raise Unauthorized("the token has no exp")
        issued_at = _time(claims, "iat") if "iat" in claims else None
        begins_at = _time(claims, "nbf") if "nbf" in claims else None
        if (begins_at or now) > now + LEEWAY or (issued_at or now) > now + LEEWAY:
            raise Unauthorized("the token is not valid yet")
        if self._issuer is not None and self._issuer not in (ANY, claims.get("iss")):
            raise Unauthorized("the token is from another issuer")
        if self._audience is None:
            if "aud" in claims:  # RFC 7519, 4.1.3: it names others, and nobody said that we are one of them
                raise Unauthorized("the token is for an audience, and JWT_AUDIENCE is not set")
        elif self._audience != ANY:
            audience = claims.get("aud")
            if self._audience not in (audience if isinstance(audience, list) else [audience]):
                raise Unauthorized("the token is for another audience")
        given = claims.get("role")
        role: Role = "agent" if given == "agent" else "service" if given == "service" else "user"
        sub = claims.get("sub")
        fault = fault_of(role, sub)
        if fault is not None:
            raise Unauthorized(f"the token's sub {fault}")
        sessions = None
        if "sessions" in claims:
            sessions = claims["sessions"]
            if not isinstance(sessions, list) or not all(
                isinstance(each, str) and "\0" not in each for each in sessions
            ):
                # A restriction that cannot be read must not become no restriction.
                raise Unauthorized("the token's sessions are not a list of strings")
        if expires_at <= now:
            # The last thing that is asked: a newer token of the same kind is the cure for this alone.
            raise TokenExpired()
        return Caller(
            role=role,
            sub=str(sub),
            name=_name(claims["name"]) if "name" in claims else None,
            avatar_url=_address(claims["avatar_url"]) if "avatar_url" in claims else None,
            sessions=None if sessions is None else frozenset(sessions),
            session_role="member" if claims.get("session_role") == "member" else "viewer",
            expires_at=min(expires_at, LAST_TIME),
            issued_at=issued_at,
        )


def _name(given: object) -> str | None:
    """What cannot be shown is no name, and costs its user that alone."""
    if not isinstance(given, str) or "\0" in given:
        return None
    return label(given, NAME_LENGTH)


def _address(given: object) -> str | None:
    """Pages load it: `http` and `https` alone."""
    if not isinstance(given, str) or "\0" in given or len(given) > AVATAR_LENGTH:
        return None
    return given if _ADDRESS.fullmatch(given) else None


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2), or None if the claim is not there."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float):  # a bool is not one
        raise Unauthorized(f"the token's {name} is not a number of seconds")
    return float(value)


def mint(
    settings: Settings,
    sub: str,
    role: Role = "user",
    name: str | None = None,
    sessions: Iterable[str] | None = None,
    ttl: float = 3600.0,
    *,
    avatar_url: str | None = None,
    session_role: Literal["member", "viewer"] | None = None,
    now: float | None = None,
) -> tuple[str, float]:
    """A token signed with our own secret, and when it expires (seconds since the epoch); `ttl` in seconds.

    Raises ValueError where the tokens are another issuer's (RS256, ES256), and for a `sub` no token may have.
    """
    if settings.jwt_algorithm != "HS256" or settings.jwt_secret_key is None:
        raise ValueError("only the holder of the private key can issue tokens here")
    fault = fault_of(role, sub)
    if fault is not None:
        raise ValueError(f"sub {fault}")
    issued_at = time.time() if now is None else now
    # `iat` to the millisecond: a token issued right after its user's revocation is newer than that.
    claims: dict[str, Any] = {
        "sub": sub,
        "role": role,
        "iat": round(issued_at, 3),
        "exp": round(issued_at + ttl, 3),
    }
    optional = {
        "name": name,
        "avatar_url": avatar_url,
        "sessions": None if sessions is None else sorted(sessions),
        "session_role": session_role,
        "aud": None if settings.jwt_audience == ANY else settings.jwt_audience,
        "iss": None if settings.jwt_issuer == ANY else settings.jwt_issuer,
    }
    claims.update({key: value for key, value in optional.items() if value is not None})
    headers = {"typ": settings.jwt_typ.removeprefix("application/")} if settings.jwt_typ else None
    return jwt.encode(claims, settings.jwt_secret_key, algorithm="HS256", headers=headers), claims["exp"]

"""Token to `Caller`: the one door through which an identity comes in, whatever the transport.

Signatures and claims are `tokens.py`'s, an issuer's rotating keys `jwks.py`'s, where a token stands in a
request `peer.py`'s.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec.structs import replace

from events.access import Caller
from events.errors import Forbidden, RateLimited, TokenExpired, Unauthorized
from server.config import Settings
from server.identity.jwks import Fetch, Jwks, fetch_url
from server.identity.peer import Headers, network_of, page_of
from server.identity.tokens import Verifier
from storage.buckets import MemoryBuckets
from storage.interfaces import Clock

CACHE = 5_000
"""Verified tokens remembered where a signature costs 50 µs or more (RS256, ES256): a page that reconnects
brings the same one. HS256 costs 5, less than the memory is worth: about 1 KiB each."""


#: Failed tokens of one network in a minute.
FAILURES = 30


class FailedTokens:
    """Failed tokens per network (`peer.network_of`): `limit` a minute, then `RateLimited`, not the reason.

    Only failures are counted and only failures are refused: a wrong token behind a shared address never
    locks out the right ones behind it. The networks that failed longest ago are forgotten first.
    """

    def __init__(self, clock: Clock, limit: int = FAILURES, networks: int = 10_000) -> None:
        self._limit = limit
        self._buckets = MemoryBuckets(clock, networks)

    def failed(self, address: str) -> None:
        """Counts one failure. Raises `RateLimited` when the network has had its share."""
        wait = self._buckets.take(network_of(address), float(self._limit), self._limit / 60.0)
        if wait > 0.0:
            raise RateLimited("too many failed tokens", retry_after=int(wait * 1000) + 1)


def _from(address: str | None, caller: Caller) -> Caller:
    """Distinguishes holders of one share link by their networks."""
    if caller.sessions is None or address is None:
        return caller
    return replace(caller, network=network_of(address))


class Authenticator:
    """Verifies tokens for one app.

    `clock` gives seconds since the epoch. `revoked(caller)` says whether a token is refused all the same,
    `heard(caller)` is called for all who come in.
    `fetch` reads a JWKS URL (blocking).
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        *,
        revoked: Callable[[Caller], bool] | None = None,
        heard: Callable[[Caller], None] = lambda _: None,
        fetch: Fetch = fetch_url,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = self.now = clock
        self._verifier = Verifier(settings, clock)
        self._revoked, self._heard = revoked, heard
        self._limiter = FailedTokens(monotonic) if settings.rate_limit_enabled else None
        self._cache: OrderedDict[str, Caller] = OrderedDict()
        self._remembered = CACHE if settings.jwt_algorithm != "HS256" else 0
        self._key = load_pem_public_key(settings.jwt_public_key.encode()) if settings.jwt_public_key else None
        self._jwks = (
            Jwks(settings.jwt_jwks_url, settings.jwt_algorithm, monotonic, fetch)
            if settings.jwt_jwks_url
            else None
        )
        self._generation = 0

    async def authenticate(
        self, token: str, headers: Headers = (), from_query: bool = False, address: str | None = None
    ) -> Caller:
        """The caller whom `token` names.

        `headers` show whether a browser's page asks (`peer.page_of`), `from_query` says that the token stood
        in `?token=`, and failures are counted for `address`; not an expiry: its token was rightly signed,
        and is no guess. Raises `Unauthorized`, `TokenExpired`, `Forbidden` (a service token from a
        browser or an address bar), `RateLimited`, or `Unavailable` (the issuer's keys, or who was revoked).
        """
        caller = self.authenticate_now(token, headers, from_query, address)
        if caller is not None:
            return caller
        assert self._jwks is not None
        try:
            key = await self._jwks.key(self._verifier.header(token).get("kid"))
            return _from(
                address, self._admitted(token, self._verifier.caller(token, key), headers, from_query)
            )
        except Unauthorized:
            self._count(address)
            raise

    def authenticate_now(
        self, token: str, headers: Headers = (), from_query: bool = False, address: str | None = None
    ) -> Caller | None:
        """As `authenticate`, without waiting; None if a key must be fetched first."""
        try:
            caller = self._cached(token)
            if caller is None:
                key = self._key
                if self._jwks is not None:
                    key = self._jwks.cached(self._verifier.header(token).get("kid"))
                    if key is None:
                        return None
                caller = self._verifier.caller(token, key)
            return _from(address, self._admitted(token, caller, headers, from_query))
        except Unauthorized:
            self._count(address)
            raise

    def _cached(self, token: str) -> Caller | None:
        if self._jwks is not None and self._jwks.generation != self._generation:
            # The issuer's keys were read anew or are due to be: one that is gone must not live on here.
            self._cache.clear()
            self._generation = self._jwks.generation
        caller = self._cache.get(token)
        if caller is None:
            return None
        if caller.expires_at <= self._clock():
            del self._cache[token]
            raise TokenExpired()
        self._cache.move_to_end(token)
        return caller

    def _admitted(self, token: str, caller: Caller, headers: Headers, from_query: bool) -> Caller:
        if caller.role == "service":
            if page_of(headers) is not None:
                raise Forbidden("a service token does not belong in a browser")
            if from_query:
                raise Forbidden("a service token does not belong in a URL")
        if self._revoked is not None and self._revoked(caller):
            raise Unauthorized("the token has been revoked")
        self._heard(caller)
        if self._remembered and token not in self._cache:
            self._cache[token] = caller
            if len(self._cache) > self._remembered:
                self._cache.popitem(last=False)
        return caller

    def _count(self, address: str | None) -> None:
        if self._limiter is not None and address is not None:
            self._limiter.failed(address)

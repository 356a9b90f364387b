"""The public keys of an issuer that rotates them: fetched from its JWKS address, cached (RFC 7517).

Knows no claims. Fetches and parses in a thread: urllib blocks, and a key takes its time.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from events.errors import Unauthorized, Unavailable

REFRESH = 3600.0
"""Seconds after which a known set is fetched again, so that a key withdrawn by its issuer dies here too."""
UNKNOWN_EVERY = 60.0
"""Unknown key ids are anybody's to send: they cause one fetch in this many seconds, however many come."""
RETRY = 5.0
"""Seconds between attempts while there is no key at all and so nobody can come in."""
TIMEOUT = 5.0
"""Seconds of silence; WHOLE is for all of an answer, which may come a byte at a time."""
WHOLE = 10.0
MAX_BYTES = 1_048_576
MAX_KEYS = 100
"""Issuers have a handful; each is parsed, and kept."""

log = structlog.get_logger("parley.auth")

Fetch = Callable[[str], bytes]


class _NoRedirect(HTTPRedirectHandler):
    """The configured address is the one that is trusted, not where it points to."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch_url(url: str) -> bytes:
    """The body at `url`, at most 1 MiB. Blocks; raises OSError, HTTPException or ValueError."""
    request = Request(url, headers={"Accept": "application/json"})
    until, body = time.monotonic() + WHOLE, b""
    with build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
        while piece := answer.read1(MAX_BYTES):
            body += piece
            if len(body) > MAX_BYTES:
                raise ValueError("the key set is too large")
            if time.monotonic() > until:
                raise TimeoutError("the key set takes too long")
    return body


class Jwks:
    """Keys by their id, for one algorithm. `clock` gives seconds that never run backwards."""

    def __init__(
        self, url: str, algorithm: str, clock: Callable[[], float], fetch: Fetch = fetch_url
    ) -> None:
        self._url = url
        self._algorithm = algorithm
        self._clock = clock
        self._fetch = fetch
        self._keys: dict[str | None, Any] = {}
        self._tried: float | None = None
        self._reached = False
        self._fetched = float("-inf")
        self._reads = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def generation(self) -> int:
        """Changes when the keys are read anew, and when they grow stale (then it is below 0)."""
        return -self._reads if self._clock() - self._fetched > REFRESH else self._reads

    def cached(self, kid: str | None) -> Any | None:
        """The key if it is known and fresh enough, without waiting; else None."""
        if self._clock() - self._fetched > REFRESH:
            return None
        return self._keys.get(kid)

    async def key(self, kid: str | None) -> Any:
        """The key, fetched if need be. Raises `Unavailable` (issuer away) or `Unauthorized` (no such key)."""
        found = self.cached(kid)
        if found is not None:
            return found
        if self._may_fetch():
            self._tried = self._clock()
            self._task = asyncio.create_task(self._refresh())
        if self._task is not None:
            await asyncio.shield(self._task)
        # While the issuer cannot be reached, tokens whose key is known still work.
        if (found := self._keys.get(kid)) is not None:
            return found
        if not self._reached:
            left = RETRY if self._tried is None else self._tried + RETRY - self._clock()
            raise Unavailable("the token's issuer cannot be reached", retry_after=max(1, round(left * 1000)))
        raise Unauthorized("the token is signed with an unknown key")

    def _may_fetch(self) -> bool:
        if self._task is not None and not self._task.done():
            return False
        if self._tried is None:
            return True
        return self._clock() - self._tried >= (UNKNOWN_EVERY if self._keys else RETRY)

    async def _refresh(self) -> None:
        # A thread of its own: the loop's default pool may be full of slow work, such as thumbnails.
        pool = ThreadPoolExecutor(1, thread_name_prefix="jwks")
        try:
            async with asyncio.timeout(WHOLE + TIMEOUT):
                keys = await asyncio.get_running_loop().run_in_executor(pool, self._read)
        except (OSError, HTTPException, ValueError) as error:
            self._reached = False
            log.warning("jwks_unreachable", url=self._url, error=str(error))
            return
        finally:
            pool.shutdown(wait=False)
        self._keys, self._reached, self._fetched = keys, True, self._clock()
        self._reads += 1

    def _read(self) -> dict[str | None, Any]:
        """In the thread."""
        return usable_keys(orjson.loads(self._fetch(self._url)), self._algorithm)


def usable_keys(document: Any, algorithm: str) -> dict[str | None, Any]:
    """The keys of a JWK set that verify `algorithm`, by `kid`; under None the one key of a set of one.

    Keys of other kinds, for encryption or malformed are left out. Raises ValueError if this is no key set.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no JWK set")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    keys: dict[str | None, Any] = {}
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        if entry.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(entry, algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if algorithm == "RS256":
            fits = isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048
        else:
            fits = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        kid = entry.get("kid")
        if fits and (kid is None or isinstance(kid, str)):
            keys[kid] = key
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    else:
        keys.pop(None, None)
    return keys

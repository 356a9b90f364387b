"""REST, and the token that every door wants. Knows no session."""

import asyncio
import base64
import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp

from parley_client.errors import Json, ParleyError, as_error, closed
from parley_client.known import key_of

T = TypeVar("T")
#: One for ever, or what gives a fresh one.
Token = str | Callable[[], str | Awaitable[str]]

#: Seconds in which a call is answered: the server itself waits up to 10 s for a database that is away.
ANSWERED = 15.0
ROLES = {"agent": "agent", "service": "system"}
SESSIONS = "/api/chat/sessions"


class Rest:
    """`url` may have a path: the service's."""

    def __init__(self, url: str, token: Token) -> None:
        parts = urlsplit(url)
        self.origin, self.path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        self.base = self.origin + self.path
        self._token = token
        self._asked: asyncio.Task[str] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def renews(self) -> bool:
        """Whether a fresh token may be another one."""
        return not isinstance(self._token, str)

    @property
    def http(self) -> aiohttp.ClientSession:
        if self._closed:
            raise closed()
        if self._http is None:
            self._http = aiohttp.ClientSession()
        return self._http

    async def close(self) -> None:
        self._closed = True
        if self._http is not None:
            await self._http.close()

    async def token(self, fresh: bool = False) -> str:
        """The last one, or a `fresh` one. Many that ask at once are given the same."""
        asked = self._asked
        failed = asked is not None and asked.done() and (asked.cancelled() or asked.exception() is not None)
        if fresh or asked is None or failed:
            asked = self._asked = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(asked)

    async def _ask(self) -> str:
        if isinstance(self._token, str):
            return self._token
        try:
            given = self._token()
            return await given if inspect.isawaitable(given) else given
        except Exception as failure:
            raise as_error(failure) from failure

    async def me(self) -> str:
        """Who the token says one is, as a key (docs/protocol.md, section 1)."""
        body = (await self.token()).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return key_of({"sender_type": ROLES.get(claims.get("role"), "user"), "sender_id": str(claims["sub"])})

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """The answer; raises a `ParleyError` for anything else."""

        async def calling(token: str) -> Json:
            headers = {"Authorization": f"Bearer {token}"}
            timeout = aiohttp.ClientTimeout(total=ANSWERED)
            async with self.http.request(
                method, self.base + path, headers=headers, json=body, timeout=timeout
            ) as response:
                return answered(response.status, await response.text())

        return await self.authorized(calling)

    async def authorized(self, act: Callable[[str], Awaitable[T]]) -> T:
        """`act(token)`, and once more where that had expired. Raises a `ParleyError` alone."""
        for fresh in (False, True):
            try:
                return await act(await self.token(fresh))
            except ParleyError as error:
                if error.code != "TOKEN_EXPIRED" or fresh:
                    raise
            except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError) as failure:
                raise closed() if self._closed else as_error(failure) from failure
        raise AssertionError("it was asked twice")


def answered(status: int, text: str) -> Json:
    """The JSON of an answer, or its error. What is not ours, as a proxy's 502, passes by itself."""
    answer: Any = {}
    with suppress(ValueError):
        answer = json.loads(text) if text else {}
    if 200 <= status < 300 and isinstance(answer, dict):
        return answer
    told = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(told, dict):
        raise as_error(told)
    raise ParleyError("UNAVAILABLE", f"HTTP {status}", retryable=status >= 500 or status == 429)


def query(**given: Any) -> str:
    """What is there of it."""
    said = {name: value for name, value in given.items() if value is not None}
    return f"?{urlencode(said)}" if said else ""


def path_of(session_id: str, rest: str = "") -> str:
    return f"{SESSIONS}/{quote(session_id, safe='')}{rest}"

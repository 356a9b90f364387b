"""The command connection to Redis: kept up, scripts loaded, every call with a time limit.

Knows no subject: keys' meanings are in the files beside it, their rules in the Lua scripts.
"""

import asyncio
import hashlib
import logging
import random
import re
import secrets
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from storage.errors import BusUnavailable, StorageUnavailable
from storage.redis.endpoint import RedisEndpoint
from storage.redis.link import Argument, Convert, Link

log = logging.getLogger("parley.redis")

_FOLDER = Path(__file__).parent
_LINE = re.compile(r"\b(?:f_|script: )([0-9a-f]{40})\b.*?@user_script: ?([0-9]+)")
#: Seconds between attempts to connect: few at first, many nodes must not come at once.
_FIRST_DELAY, _MOST_DELAY = 0.05, 1.0
#: Letters of an epoch, and of one with a position's mark.
EPOCH, STAMP = 12, 16


@cache
def _text(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


class Script:
    """A Lua script from its file, behind the prelude that reads the cluster's clock, and what it shares."""

    def __init__(self, name: str, *shared: str) -> None:
        self.source = "\n".join(map(_text, ("prelude", *shared, name)))
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """One command connection for a node. `timeout` in seconds; `prefix` begins every key and channel.

    While there is no connection every call fails at once: nobody waits for a Redis that is gone.
    """

    def __init__(self, url: str, *, prefix: str, timeout: float) -> None:
        self.prefix, self.timeout = prefix, timeout
        self.endpoint = RedisEndpoint(url, timeout)
        self.endpoint.line_of = self._line_of
        self.run = ""  # run id of the server that the link is connected to
        self._scripts: dict[str, Script] = {}
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        # New epochs are told apart by it where the clock's second is the same.
        self._token = secrets.token_hex(2)
        # How far this node has seen the cluster's clock: it goes with every call, and is compared there.
        self._stamp, self._pos = b"", 0
        self._seen: bytes | None = None  # the two as they go
        self.on_epoch: Callable[[str], None] = lambda epoch: None

    def script(self, name: str, *shared: str) -> Script:
        """To be asked for before the connection is there: it is loaded with each new one."""
        return self._scripts.setdefault(name, Script(name, *shared))

    @property
    def connection(self) -> str:
        """Names the present connection: another one may lead to a server that lacks what was said."""
        return self._token

    def _line_of(self, text: str) -> str:
        """The line of a script that an error reply is about: Redis does not name the command."""
        found = _LINE.search(text)
        for script in self._scripts.values() if found else ():
            if found and script.sha == found[1]:
                return f": {script.source.splitlines()[int(found[2]) - 1].strip()}"
        return ""

    # --- calls

    @property
    def clock(self) -> str:
        return f"{self.prefix}:clock"

    def call(self, *words: Argument) -> "asyncio.Future[Any]":
        """One command's reply; the future fails with StorageUnavailable."""
        link = self._link
        if link is None or link.closed:
            return _failed()
        return link.call(*words)

    def run_script(
        self, script: Script, keys: Iterable[str], *arguments: Argument, convert: Convert | None = None
    ) -> "asyncio.Future[Any]":
        """A script's reply, converted. It gets the clock as KEYS[1]; as ARGV[1..2] the run id, and a token
        with what was seen of the clock."""
        link = self._link
        if link is None or link.closed:
            return _failed()
        keys = (self.clock, *keys)
        if self._seen is None:
            digit = self._token[:1].encode()
            self._seen = b"%b%b%d" % (digit, self._stamp, self._pos) if self._stamp else digit
        return link.call(
            "EVALSHA", script.sha, len(keys), *keys, self.run, self._seen, *arguments, convert=convert
        )

    async def time(self) -> float | None:
        """The server's clock, in epoch seconds; None while it does not answer."""
        try:
            seconds, micros = await self.call("TIME")
        except StorageUnavailable:
            return None
        return int(seconds) + int(micros) / 1e6

    def saw(self, stamp: bytes, pos: int) -> None:
        """A position that Redis answered with, and its epoch and mark. What is only heard on a channel is
        compared in other ways: it may be of a history that was lost, or of the one that took its place
        (`storage.redis.heard`)."""
        epoch, known = stamp[:EPOCH], self._stamp[:EPOCH]
        if (epoch > known or (epoch == known and pos > self._pos)) and len(stamp) == STAMP:
            self._stamp, self._pos, self._seen = stamp, pos, None
            if known and epoch > known:
                self.on_epoch(epoch.decode())

    @property
    def overdue(self) -> float:
        """Seconds that the oldest command has been waiting; infinite without a connection."""
        return self._link.overdue if self._link is not None and not self._link.closed else float("inf")

    # --- the connection

    async def up(self) -> None:
        """Returns when there is a connection; begins to keep one. Raises StorageUnavailable when late."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
        try:
            async with asyncio.timeout(self.timeout):
                await self._up.wait()
        except TimeoutError as error:
            raise BusUnavailable("no connection to Redis") from error

    async def _keep(self) -> None:
        delay = 0.0
        while True:
            try:
                await self._connect()
                delay = 0.0
                await self._down.wait()
            except BusUnavailable as error:
                if delay == 0.0:
                    log.warning("%s", error)
            delay = min(_MOST_DELAY, delay * 2 or _FIRST_DELAY)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _connect(self) -> None:
        link, run = await self.endpoint.connect()
        try:
            for script in self._scripts.values():
                await link.call("SCRIPT", "LOAD", script.source)
        except BaseException:
            link.close()
            raise
        link.on_closed = self._closed
        if link.closed:
            raise BusUnavailable("the connection to Redis broke")
        self._link, self.run = link, run
        self._token, self._seen = secrets.token_hex(2), None
        self._down.clear()
        self._up.set()

    def _closed(self) -> None:
        self._link = None
        self._up.clear()
        self._down.set()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        if self._link is not None:
            self._link.close()


def _failed() -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(BusUnavailable("no connection to Redis"))
    future.exception()  # fire and forget is allowed
    return future

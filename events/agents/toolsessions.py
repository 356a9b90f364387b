"""The sessions with servers of tools that a node keeps: opened when they are needed, closed when nobody needs
them. Knows no agent's answer."""

import asyncio
import importlib.util
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import httpcore
from msgspec import Struct

from events.agents.toolcommands import ToolCommands
from events.agents.toolconfig import ToolServer, VariableHeader
from events.agents.toolserver import ListedTool, Stale, ToolServerFailed
from events.agents.upstreams import Refused, Upstreams, split

#: Sessions of a node. One more closes one that nobody uses: of those for whom most are kept, the one that was
#: used longest ago.
MOST = 100
#: Seconds after which a session that nobody uses is closed.
IDLE = 300.0
#: Seconds for which a server's list of tools is believed, and for which one that gives none is not asked.
LISTED, UNLISTED = 60.0, 10.0
#: Seconds that an answer waits for a list. A program may take longer to start: a later answer finds it there.
LISTING = 15.0

#: Bytes of JSON of all lists that are kept: a server may list a megabyte, in each chat session anew.
LISTINGS = 8 * 1024 * 1024

EXTRA = "tools need the extra `mcp`, which is not installed: pip install 'parley[mcp]'"

log = logging.getLogger("parley.agents.tools")

_LIBRARY = "events.agents.mcpsession"

_Key = tuple[Any, ...]
_T = TypeVar("_T")


class _Session(Protocol):
    live: bool

    @property
    def is_open(self) -> bool: ...

    async def tools(self) -> list[ListedTool]: ...

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class _Held(Struct, eq=False):
    session: _Session
    since: float
    used: float
    user: str = ""
    users: int = 0

    def serves(self, opening_since: float) -> bool:
        """Whether it can be used, or may yet open."""
        return self.session.live and (self.session.is_open or self.since > opening_since)


class _Listing(Struct):
    """Believed until a time of the loop's."""

    tools: list[ListedTool] | None = None
    until: float = 0.0
    size: int = 0


def is_installed() -> bool:
    return importlib.util.find_spec("mcp") is not None


class ToolSessions:
    """`key_of` gives a variable's value; `connections` are those to addresses that were checked. Without
    `upstreams` every address may be asked."""

    def __init__(
        self,
        key_of: Callable[[str], str | None],
        connections: Callable[[], Awaitable[httpcore.AsyncConnectionPool]],
        upstreams: Upstreams | None,
        commands: ToolCommands,
        *,
        most: int = MOST,
        idle: float = IDLE,
    ) -> None:
        self._key_of, self._connections = key_of, connections
        self._upstreams, self._commands = upstreams, commands
        self._most, self._idle = most, idle
        self._held: dict[_Key, _Held] = {}
        self._listings: dict[_Key, _Listing] = {}
        self._opening: dict[_Key, asyncio.Lock] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def check(self, server: ToolServer) -> None:
        """Whether the settings allow it. Raises ValueError."""
        if not is_installed():
            raise ValueError(EXTRA)
        if server.url is None:
            self._commands.check([server.command or "", *server.args], server.env)
            return
        if self._upstreams is not None:
            origin = split(server.url)[0]
            headers = server.headers.values()
            keys = [value.env for value in headers if isinstance(value, VariableHeader)]
            for key in (None, *keys):
                self._upstreams.check(origin, key, named=("url", "headers"))

    async def tools(self, server: ToolServer, scope: str, user: str = "") -> list[ListedTool]:
        """What a server lists; `scope` is the chat session's id, `user` who asks in it. Where it cannot be
        asked now, what it listed before.

        Raises ToolServerFailed.
        """
        key, time = _key(server, scope), asyncio.get_running_loop().time
        known = self._listings.pop(key, None) or _Listing()
        self._listings[key] = known
        if time() >= known.until:
            seconds = min(LISTING, server.timeout)
            try:
                known.tools = await self._used(server, scope, user, lambda session: session.tools(), seconds)
                known.until = time() + LISTED
                known.size = sum(tool.size for tool in known.tools)
                self._forget_listings()
            except ToolServerFailed as failure:
                log.warning("tools at %s: %s", server.place, failure)
                known.until = time() + UNLISTED
        if known.tools is None:
            raise ToolServerFailed("it cannot be reached")
        return known.tools

    def _forget_listings(self) -> None:
        """Those that were not asked for the longest."""
        listings = self._listings
        while len(listings) > self._most or sum(each.size for each in listings.values()) > LISTINGS:
            del listings[next(iter(listings))]

    async def call(
        self, server: ToolServer, scope: str, user: str, name: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """Raises ToolServerFailed."""

        async def act(session: _Session) -> dict[str, Any]:
            return await session.call(name, arguments)

        return await self._used(server, scope, user, act, server.timeout)

    async def _used(
        self,
        server: ToolServer,
        scope: str,
        user: str,
        act: Callable[[_Session], Awaitable[_T]],
        seconds: float,
    ) -> _T:
        """In a session that is open, or a new one."""
        if not is_installed():
            raise ToolServerFailed(EXTRA)
        if _LIBRARY not in sys.modules:
            # A second of imports: not on the event loop, and not of the time that a server has.
            await asyncio.to_thread(importlib.import_module, _LIBRARY)
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await self._in(await self._session(server, scope, user), act)
                except Stale:
                    return await self._in(await self._session(server, scope, user), act)
        except TimeoutError:
            raise ToolServerFailed(f"it took longer than {seconds:g} seconds") from None

    async def _in(self, held: _Held, act: Callable[[_Session], Awaitable[_T]]) -> _T:
        held.users += 1
        try:
            return await act(held.session)
        finally:
            held.users -= 1
            held.used = asyncio.get_running_loop().time()

    async def _session(self, server: ToolServer, scope: str, user: str) -> _Held:
        key = _key(server, scope)
        async with self._opening.setdefault(key, asyncio.Lock()):
            held = self._held.get(key)
            now = asyncio.get_running_loop().time()
            if held is not None and held.serves(now - server.timeout):
                return held
            if held is not None:
                self._drop(key)
            user = user if server.own_session else ""
            self._make_room(user)
            try:
                session = await self._open(server)
            except Refused as refused:
                log.warning("tools at %s: %s", server.place, refused)
                raise ToolServerFailed("the settings do not allow it") from refused
            held = self._held[key] = _Held(session, now, now, user)
            if self._sweeping is None:
                self._sweeping = asyncio.create_task(self._sweep(), name="tool sessions")
            return held

    async def _open(self, server: ToolServer) -> _Session:
        """Raises ToolServerFailed, Refused."""
        self.check(server)
        mcpsession = importlib.import_module(_LIBRARY)
        if server.url is None:
            variables = {name: self._value(name) for name in server.env}
            transport = mcpsession.over_stdio([server.command, *server.args], variables)
        else:
            origin, target = split(server.url)
            headers = {name: self._header(value) for name, value in server.headers.items()}
            transport = mcpsession.over_http(await self._connections(), origin, target, headers)
        made: _Session = mcpsession.McpSession(transport, server.place)
        return made

    def _header(self, value: str | VariableHeader) -> str:
        return value if isinstance(value, str) else value.prefix + self._value(value.env)

    def _value(self, name: str) -> str:
        value = (self._key_of(name) or "").strip()
        if not value or not value.isascii() or not value.isprintable():
            raise ToolServerFailed("its key is not set on the server")
        return value

    # --- as few as are needed

    def _make_room(self, user: str) -> None:
        """For one more of this user's. Raises ToolServerFailed."""
        if len(self._held) < self._most:
            return
        free = [key for key, held in self._held.items() if not held.users]
        if not free:
            raise ToolServerFailed("too many sessions with servers of tools are in use")
        # One user's chats push out nobody else's; what all share goes last.
        kept = Counter([user, *(held.user for held in self._held.values())])
        kept[""] = 0
        self._drop(min(free, key=lambda key: (-kept[self._held[key].user], self._held[key].used)))

    def _drop(self, key: _Key) -> None:
        held = self._held.pop(key)
        closing = asyncio.create_task(held.session.close(), name="a tool session's end")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 4)
            before = asyncio.get_running_loop().time() - self._idle
            for key, held in list(self._held.items()):
                if not held.users and (held.used < before or not held.session.live):
                    self._drop(key)
            for key in [key for key in self._opening if key not in self._held]:
                if not self._opening[key].locked():
                    del self._opening[key]

    async def close(self) -> None:
        """The node stops: nothing that was started outlives it."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
            self._sweeping = None
        for key in list(self._held):
            self._drop(key)
        if self._closing:
            await asyncio.wait(self._closing)


def _key(server: ToolServer, scope: str) -> _Key:
    """Two servers are one session if they are asked in the same way."""
    headers = tuple(
        (name.lower(), value if isinstance(value, str) else (value.env, value.prefix))
        for name, value in sorted(server.headers.items())
    )
    place = (server.url, headers, server.command, tuple(server.args), tuple(server.env))
    return (*place, scope if server.own_session else None)

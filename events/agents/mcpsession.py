"""One session with one MCP server, through the `mcp` library. Knows no agent and no bounds of an answer.

Only where the extra `mcp` is installed.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT, Implementation

from events.agents import toolrelay
from events.agents.mcphttp import MESSAGE, streamable_http
from events.agents.mcpmessages import WatchedMessages
from events.agents.toolserver import TITLE, ListedTool, Stale, ToolServerFailed
from events.agents.upstreams import UpstreamOrigin
from events.labels import label

#: Seconds for a session to end. A process that goes on after its input has ended is killed after two.
CLOSING = 8.0
#: Pages of a server's list of tools, and what is kept of it: more than any agent may be offered, and
#: JSON of so many bytes.
PAGES, MOST_TOOLS, MOST_BYTES = 20, 1000, 1024 * 1024

log = logging.getLogger("parley.agents.tools")

Transport = AbstractAsyncContextManager[Any]


def over_http(
    pool: httpcore.AsyncConnectionPool, origin: UpstreamOrigin, target: str, headers: dict[str, str]
) -> Callable[[], Transport]:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    url = f"{origin.scheme}://{host}:{origin.port}{target or '/'}"
    return lambda: streamable_http(pool, origin, url, headers)


def over_stdio(words: list[str], variables: dict[str, str]) -> Callable[[], Transport]:
    relay = [sys.executable, "-I", "-S", str(Path(toolrelay.__file__)), str(MESSAGE), *words]
    started = StdioServerParameters(command=relay[0], args=relay[1:], env=variables)

    @asynccontextmanager
    async def connected() -> AsyncGenerator[Any, None]:
        # What a server complains of is the operator's to read, and no answer's.
        with os.fdopen(os.dup(2), "w") as complaints:
            async with stdio_client(started, errlog=complaints) as streams:
                yield streams

    return connected


class McpSession:
    """A task of its own holds it, as the library's scopes must be left where they were entered. `live` until
    its connection has ended."""

    def __init__(self, transport: Callable[[], Transport], name: str) -> None:
        self._transport, self._name = transport, name
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self.live = True
        self._task = asyncio.create_task(self._hold(), name=f"mcp session {name}")

    async def _hold(self) -> None:
        try:
            info = Implementation(name="parley", version="1")
            async with Client(self._watched(), client_info=info, cache=None) as client:
                if not self._opened.done():
                    self._opened.set_result(client)
                await self._closing.wait()
        except BaseException as error:  # noqa: BLE001 (the library cancels this task when a connection breaks)
            log.info("tools at %s: the session ended: %r", self._name, error)
            if not self._opened.done():
                self._opened.set_exception(ToolServerFailed(_reason(error)))
                self._opened.exception()  # nobody may be waiting
        finally:
            self.live = False

    @asynccontextmanager
    async def _watched(self) -> AsyncGenerator[Any, None]:
        async with self._transport() as (read, write):
            yield WatchedMessages(read, self._ended), write

    def _ended(self) -> None:
        self.live = False

    @property
    def is_open(self) -> bool:
        return self._opened.done()

    async def tools(self) -> list[ListedTool]:
        """As many as are kept. Raises ToolServerFailed."""
        client = await asyncio.shield(self._opened)
        found: list[ListedTool] = []
        size, cursor = 0, None
        for _ in range(PAGES):
            try:
                page = await self._in_session(client.list_tools(cursor=cursor))
            except MCPError as error:
                raise self._failure(error) from error
            for tool in page.tools:
                title = tool.title or (tool.annotations.title if tool.annotations else None)
                shown = label(title, TITLE) if title else None
                listed = ListedTool(tool.name, shown, tool.description or "", tool.input_schema)
                size += listed.size
                if len(found) == MOST_TOOLS or size > MOST_BYTES:
                    log.warning("tools at %s: %s and those after it are too many", self._name, tool.name[:64])
                    return found
                found.append(listed)
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A `CallToolResult` as JSON. Cancelled, it cancels the call at the server.

        Raises ToolServerFailed; Stale where the server does not know the session any more, and did nothing.
        """
        client = await asyncio.shield(self._opened)
        if not self.live:
            raise Stale("its session has ended")
        try:
            result = await self._in_session(client.call_tool(name, arguments))
        except MCPError as error:
            raise self._failure(error) from error
        made: dict[str, Any] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return made

    async def _in_session(self, asked: Any) -> Any:
        """The library leaves a call waiting whose session broke off: it ends with the session here."""
        call = asyncio.ensure_future(asked)
        try:
            await asyncio.wait([call, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise ToolServerFailed("the server ended while it ran")
            return call.result()
        except (MCPError, ToolServerFailed):
            raise
        except Exception as error:
            # A result that is none, by the protocol or by the tool's own schema.
            raise ToolServerFailed(_reason(error)) from error
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait([call])

    def _failure(self, error: MCPError) -> ToolServerFailed:
        if error.code == INVALID_REQUEST and "session" in error.message.lower():
            self.live = False
            return Stale(error.message)
        if error.code == CONNECTION_CLOSED and not self.live:
            return ToolServerFailed("the server ended while it ran")
        if error.code == REQUEST_TIMEOUT:
            return ToolServerFailed("it took too long")
        return ToolServerFailed(_reason(error))

    async def close(self) -> None:
        """Ends what it runs, too."""
        self.live = False
        self._closing.set()
        _, left = await asyncio.wait([self._task], timeout=CLOSING)
        for task in left:
            task.cancel()


def _reason(error: BaseException) -> str:
    """In few words; of several errors the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return error.message[:500]
    if isinstance(error, OSError):
        return f"it cannot be started ({type(error).__name__})"
    return f"{type(error).__name__}: {error}"[:500]

"""The tools of one answer: which the model is offered, under which names, and what a call gives. Knows no
model's API."""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.base import AnswerFailed
from events.agents.modelcall import OfferedTool
from events.agents.toolconfig import ToolLimits, ToolServer
from events.agents.toolresults import ToolResult, failed, result_of
from events.agents.toolserver import TITLE, ListedTool, ToolServerFailed
from events.agents.toolsessions import ToolSessions
from events.labels import label
from events.pagetools import PageTool

#: Of a name that a model is told: what every API takes.
NAME = 64
#: Of a result when all are together as long as they may be: enough to say so.
LEAST = 256

log = logging.getLogger("parley.agents.tools")


class _Tool(Struct, frozen=True):
    server: ToolServer
    listed: ListedTool


class Toolbox:
    """`offered` is what the model is told of, `missing` the names (else places) of servers that
    cannot be asked now."""

    def __init__(
        self,
        sessions: ToolSessions,
        limits: ToolLimits,
        scope: str,
        of_page: Sequence[PageTool] = (),
        user: str = "",
    ) -> None:
        self._sessions, self._limits, self._scope, self._user = sessions, limits, scope, user
        self._of_page = {tool.name: tool for tool in of_page}
        self._tools: dict[str, _Tool] = {}
        self.offered: list[OfferedTool] = [
            OfferedTool(tool.name, tool.description, _schema(tool.parameters)) for tool in of_page
        ]
        self.missing: list[str] = []
        self._left = limits.total_bytes
        self._calls = self._running = 0
        self._seconds, self._until = limits.seconds, 0.0
        self.answer_seconds = limits.answer_seconds
        self._places = asyncio.Semaphore(limits.parallel)

    async def fill(self, servers: Sequence[ToolServer]) -> None:
        """From all of them at once. One that does not answer is left out."""
        lists = await asyncio.gather(*(self._listed(server) for server in servers))
        size = len(msgspec.json.encode(self.offered))
        for server, listed in zip(servers, lists, strict=True):
            for tool in listed:
                if server.allow is not None and tool.name not in server.allow:
                    continue
                offer = OfferedTool(self._named(server, tool), tool.description, _schema(tool.parameters))
                size += len(msgspec.json.encode(offer))
                if len(self.offered) >= self._limits.tools or size > self._limits.description_bytes:
                    log.warning("tools at %s: %s and those after it are too many", server.place, tool.name)
                    return
                self._tools[offer.name] = _Tool(server, tool)
                self.offered.append(offer)

    def bring(self, of_question: Sequence[PageTool]) -> None:
        """Tools that the question brings, after those of the agent. Raises AnswerFailed: a model that is
        offered less than the page says would answer another question."""
        for tool in of_question:
            if tool.name in self._of_page:
                continue  # as the agent has it
            if tool.name in self._tools:
                raise _refused(f"the agent has a tool {tool.name} of its own")
            self._of_page[tool.name] = tool
            self.offered.append(OfferedTool(tool.name, tool.description, _schema(tool.parameters)))
        if len(self.offered) > self._limits.tools:
            raise _refused(f"with the agent's there are more than {self._limits.tools}")
        if len(msgspec.json.encode(self.offered)) > self._limits.description_bytes:
            raise _refused(f"with the agent's they have more than {self._limits.description_bytes} bytes")

    async def _listed(self, server: ToolServer) -> list[ListedTool]:
        try:
            return await self._sessions.tools(server, self._scope, self._user)
        except ToolServerFailed:
            self.missing.append(server.name or server.place)
            return []

    def _named(self, server: ToolServer, tool: ListedTool) -> str:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server.name}_{tool.name}" if server.name else tool.name)
        taken, number = name[:NAME], 1
        while taken in self._tools or taken in self._of_page:
            number += 1
            taken = f"{name[: NAME - 5]}_{number}"
        return taken

    def title(self, name: str) -> str | None:
        if (of_page := self._of_page.get(name)) is not None:
            return label(of_page.title, TITLE) if of_page.title else None
        tool = self._tools.get(name)
        return tool.listed.title if tool is not None else None

    def is_of_page(self, name: str) -> bool:
        return name in self._of_page

    def of_server(self, name: str) -> str | None:
        """Which tool of which server this is. Names are given by turns: another day another tool may have
        it."""
        tool = self._tools.get(name)
        return None if tool is None else _identity(tool)

    def name_of(self, of_server: str) -> str | None:
        """What that tool is called now; None where it is not there."""
        return next((name for name, tool in self._tools.items() if _identity(tool) == of_server), None)

    def waits(self, name: str, input_text: str) -> bool:
        """Whether people are asked before a call gives anything. What is no call needs no word of theirs."""
        tool = self._tools.get(name)
        if name not in self._of_page and (tool is None or not tool.server.asks(tool.listed.name)):
            return False
        try:
            arguments_of(input_text)
        except ValueError:
            return False
        return self._calls < self._limits.calls

    def went_on(self, calls: int) -> None:
        """So many calls were made before the answer waited."""
        self._calls = calls

    async def call(self, name: str, input_text: str) -> ToolResult:
        """Always a result: what goes wrong is told to the model."""
        self._calls += 1
        if self._calls > self._limits.calls:
            return failed(f"not called: an answer may call tools {self._limits.calls} times", LEAST)
        tool = self._tools.get(name)
        if tool is None:
            return failed(f"there is no tool {name[:NAME]!r}, or it may not be called", LEAST)
        try:
            arguments = arguments_of(input_text)
        except ValueError:
            return failed(f"the arguments are not a JSON object: {input_text[:NAME]}", LEAST)
        try:
            async with self._time(), self._places:
                called = await self._sessions.call(
                    tool.server, self._scope, self._user, tool.listed.name, arguments
                )
        except TimeoutError:
            return self._counted(failed("the time for this answer's tools is used up", LEAST))
        except ToolServerFailed as failure:
            log.info("tool %s at %s: %s", tool.listed.name, tool.server.place, failure)
            return self._counted(failed(str(failure), self.room))
        try:
            return self._counted(result_of(called, self.room))
        except (ValueError, TypeError, OverflowError, RecursionError):
            log.exception("tool %s at %s: its result", tool.listed.name, tool.server.place)
            return self._counted(failed("its result cannot be read", self.room))

    @asynccontextmanager
    async def _time(self) -> AsyncIterator[None]:
        """Counts while any call runs or waits for its turn. Raises TimeoutError."""
        time = asyncio.get_running_loop().time
        if not self._running:
            self._until = time() + self._seconds
        self._running += 1
        try:
            async with asyncio.timeout_at(self._until):
                yield
        finally:
            self._running -= 1
            if not self._running:
                self._seconds = max(0.0, self._until - time())

    @property
    def room(self) -> int:
        """Bytes of the next result."""
        return max(LEAST, min(self._limits.output_bytes, self._left))

    def _counted(self, result: ToolResult) -> ToolResult:
        self._left -= result.size
        return result


def arguments_of(input_text: str) -> dict[str, Any]:
    """Raises ValueError. No text is no arguments: some models write none where a tool takes none."""
    if not input_text.strip():
        return {}
    try:
        made = msgspec.json.decode(input_text)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if not isinstance(made, dict):
        raise ValueError("no object")
    return made


def _identity(tool: _Tool) -> str:
    """Short, and without what may be a secret."""
    server = tool.server
    said = msgspec.json.encode((server.url, server.command, server.args, tool.listed.name))
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def _refused(why: str) -> AnswerFailed:
    return AnswerFailed("TOOLS_REFUSED", f"the question's tools cannot be offered: {why}")


def _schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Some APIs refuse an object without properties."""
    return {"type": "object", "properties": {}, **parameters}

"""What of an MCP server's messages reaches the `mcp` library: answers, cut to what somebody uses, and a few
questions. Only where the extra `mcp` is installed."""

import asyncio
from collections.abc import Callable
from typing import Any

from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

#: Tools of one page, and blocks of one result: the library makes objects of them in one turn of the loop.
MOST = 1000
#: Questions of a server that are answered at once, and then in a second. Each has a task of the library's,
#: which waits until the server takes its answer.
ASKED, ASKED_PER_SECOND = 20, 1.0
#: Fields of a tool that nobody here reads. By its `outputSchema` the library would check results, in one turn
#: of the loop, with the server's own regular expressions, which may take for ever.
_UNREAD = ("outputSchema", "icons", "_meta")


class WatchedMessages:
    """A transport's messages; `ended` is called when no more can come."""

    def __init__(self, messages: Any, ended: Callable[[], None]) -> None:
        self._messages, self._ended = messages, ended
        self._time = asyncio.get_running_loop().time
        self._may_ask, self._since = float(ASKED), self._time()

    @property
    def last_context(self) -> Any:
        return getattr(self._messages, "last_context", None)

    async def receive(self) -> Any:
        while not self._is_wanted(message := await self._messages.receive()):
            pass
        return message

    def __aiter__(self) -> "WatchedMessages":
        return self

    async def __anext__(self) -> Any:
        try:
            while not self._is_wanted(message := await self._messages.__anext__()):
                pass
            return message
        except StopAsyncIteration:
            self._ended()
            raise

    async def aclose(self) -> None:
        await self._messages.aclose()

    async def __aenter__(self) -> "WatchedMessages":
        await self._messages.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._messages.__aexit__(*error)

    def _is_wanted(self, message: Any) -> bool:
        """Nobody here follows a call's progress or a server's log."""
        said = getattr(message, "message", None)
        if isinstance(said, JSONRPCNotification):
            return False
        if isinstance(said, JSONRPCRequest):
            return self._answers()
        if isinstance(said, JSONRPCResponse) and isinstance(said.result, dict):
            _cut(said.result)
        return True

    def _answers(self) -> bool:
        now = self._time()
        self._may_ask = min(float(ASKED), self._may_ask + (now - self._since) * ASKED_PER_SECOND)
        self._since = now
        if self._may_ask < 1:
            return False
        self._may_ask -= 1
        return True


def _cut(result: dict[str, Any]) -> None:
    content, tools = result.get("content"), result.get("tools")
    if isinstance(content, list) and len(content) > MOST:
        note = {"type": "text", "text": f"[cut: {len(content)} blocks in all]"}
        result["content"] = [*content[:MOST], note]
    if isinstance(tools, list):
        result["tools"] = tools[:MOST]
        for tool in result["tools"]:
            if isinstance(tool, dict):
                for name in _UNREAD:
                    tool.pop(name, None)

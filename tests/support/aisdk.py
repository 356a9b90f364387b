"""Chats of the real AI SDK in a Node process of their own: `tests/js/aisdk.mjs`."""

from typing import Any

from tests.support.jslines import JsLines
from tests.support.server import Server

State = dict[str, Any]


class AISdk(JsLines):
    """One process, for all chats of a file's tests."""

    def __init__(self) -> None:
        super().__init__("aisdk.mjs")

    async def call(self, command: str, *, timeout: float = 8, **given: Any) -> Any:
        return await super().call(command, timeout=timeout, **given)

    async def chat(
        self, node: Server, sdk: int, id: str, sub: str = "alice", *, query: str = "", **options: Any
    ) -> "Chat":
        """A page's chat; `socket=True`: over the WebSocket transport."""
        name = self.new_name()
        if options.pop("socket", False):
            options["url"] = f"{node.url}/ws/ai{query and '?' + query}"
        else:
            options["api"] = f"{node.url}/api/ai/chat?sdk={sdk}{query and '&' + query}"
        await self.call("chat", name=name, sdk=sdk, id=id, token=node.token(sub), **options)
        return Chat(self, name, id)


class Chat:
    """One chat. What it does answers with its state then."""

    def __init__(self, sdk: AISdk, name: str, id: str) -> None:
        self._sdk, self.name, self.id = sdk, name, id

    async def act(self, method: str, *args: Any, apart: bool = False) -> State:
        state: State = await self._sdk.call(
            "act", name=self.name, method=method, args=list(args), apart=apart
        )
        return state

    async def send(self, text: str, *, apart: bool = False, **more: Any) -> State:
        return await self.act("sendMessage", {"text": text, **more}, apart=apart)

    async def until(self, test: str) -> State:
        state: State = await self._sdk.call("until", name=self.name, test=test)
        return state

    async def state(self) -> State:
        state: State = await self._sdk.call("state", name=self.name)
        return state

    async def close(self) -> None:
        await self._sdk.call("close", name=self.name)


def texts(message: State) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")

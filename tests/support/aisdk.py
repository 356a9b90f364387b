"""Chats of the real AI SDK in a Node process of their own: `tests/js/aisdk.mjs`."""

import asyncio
import json
import subprocess
import threading
from concurrent.futures import Future
from itertools import count
from typing import Any

from tests.support.server import ROOT, Server
from tests.support.services import program

FOLDER = ROOT / "tests" / "js"
State = dict[str, Any]


class AISdk:
    """One process, for all chats of a file's tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [program("node"), "aisdk.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ids, self._waiting = count(), dict[int, Future[Any]]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["call"])
            if "error" in answer:
                waiting.set_exception(AssertionError(answer["error"]))
            else:
                waiting.set_result(answer.get("result"))

    async def call(self, command: str, **given: Any) -> Any:
        number, future = next(self._ids), Future[Any]()
        self._waiting[number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": number, "command": command, **given}) + "\n")
        self._process.stdin.flush()
        async with asyncio.timeout(8):
            return await asyncio.wrap_future(future)

    async def chat(
        self, node: Server, sdk: int, id: str, sub: str = "alice", *, query: str = "", **options: Any
    ) -> "Chat":
        """A page's chat; `socket=True`: over the WebSocket transport."""
        name = f"chat-{next(self._ids)}"
        if options.pop("socket", False):
            options["url"] = f"{node.url}/ws/ai{query and '?' + query}"
        else:
            options["api"] = f"{node.url}/api/ai/chat?sdk={sdk}{query and '&' + query}"
        await self.call("chat", name=name, sdk=sdk, id=id, token=node.token(sub), **options)
        return Chat(self, name, id)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(5)
        self._reader.join(5)
        self._process.stdout.close()


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

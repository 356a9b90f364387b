"""Fifty hostile users in a process that is ended at last: `python -m tests.faults.hostility URL URL`.

Each floods what its turn gives it, over REST, sockets and bare connections, as fast as it is answered; with
names of `Hostile`'s methods behind the addresses, only these are done. Writes the counts of what it was told
to standard output, as JSON, once a second.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import ConnectionClosed

from tests.support.processes import give_way
from tests.support.rawclient import RawClient
from tests.support.server import mint
from tests.support.sioclient import HandshakeRefused, SioWebSocket
from tests.support.web import web_client

USERS = 50
KINDS = ("rest", "searches", "bodies", "slow", "socket", "raw", "herd")
GONE = (OSError, TimeoutError, httpx.HTTPError, ConnectionClosed, HandshakeRefused, AssertionError, KeyError)
BASE = "/api/chat/sessions"
#: As long as a message may be, of letters whose forms have to be looked up one by one.
DEAR = "\uff41\u0301\u00e9\u1e9b\u0323 " * 5_000


class Hostile:
    def __init__(self, number: int, url: str, told: Counter[str]) -> None:
        self.name, self.url, self.told = f"hostile-{number}", url, told
        self.token = mint(self.name)
        self.room = ""

    def api(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return web_client(base_url=self.url, headers=headers, timeout=30)

    async def begin(self) -> None:
        async with self.api() as api:
            self.room = (await api.post(BASE, json={})).json()["session_id"]
            for _ in range(3):
                await api.post(
                    f"{BASE}/{self.room}/messages", json={"content": DEAR[:20_000], "reply": False}
                )

    # --- what they do

    async def rest(self) -> None:
        here = f"{BASE}/{self.room}"
        calls: list[Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]] = [
            lambda api: api.get(BASE),
            lambda api: api.get(here),
            lambda api: api.get(f"{here}/messages", params={"limit": 500}),
            lambda api: api.get(f"{here}/presence"),
            lambda api: api.post(BASE, json={}),
            lambda api: api.patch(here, json={"title": "x"}),
            lambda api: api.put(f"{here}/participants/good-{random.randrange(50)}", json={}),
            lambda api: api.post(f"{here}/messages", json={"content": "x"}),
            lambda api: api.post(f"{here}/read", json={"seq": 1}),
            lambda api: api.post(f"{here}/presence", json={"status": "away"}),
            lambda api: api.post("/api/chat", json={"content": "x", "stream": False}),
            lambda api: api.post(f"{here}/files", files={"file": ("a.txt", b"x" * 100_000, "text/plain")}),
            lambda api: api.get("/api/chat/agents"),
            lambda api: api.get("/api/server/stats"),
            lambda api: api.get("/files/none"),
            lambda api: api.get("/docs/"),
        ]
        async with self.api() as api:
            while True:
                await self._count(random.choice(calls)(api))

    async def searches(self) -> None:
        async with self.api() as api:
            while True:
                await self._count(api.get("/api/chat/search", params={"q": f"\u00e9 {random.randrange(99)}"}))

    async def bodies(self) -> None:
        """Too large, too deep, of no form at all."""
        here = f"{BASE}/{self.room}/messages"
        kinds = (b"x" * 1_000_000, b'{"content":' + b"[" * 30_000, b"{" * 60_000, b"\xff" * 60_000)
        async with self.api() as api:
            while True:
                await self._count(api.post(here, content=random.choice(kinds)))

    async def slow(self) -> None:
        """A body that comes by the byte."""
        at = urlsplit(self.url)
        head = (
            f"POST {BASE}/{self.room}/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n"
            f"Authorization: Bearer {self.token}\r\n\r\n"
        ).encode()
        while True:
            _, writer = await asyncio.open_connection(at.hostname, at.port)
            with suppress(*GONE):
                writer.write(head)
                for _ in range(20):
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            writer.close()

    async def socket(self) -> None:
        """Every command, one behind the other."""
        commands = (
            "message",
            "typing",
            "join",
            "leave",
            "presence",
            "history",
            "read",
            "nothing",
            "stream_start",
        )
        async with SioWebSocket(self.url.replace("http", "ws")) as socket:
            await socket.connect(self.token)
            while True:
                wave = [
                    socket.emit(
                        random.choice(commands),
                        {
                            "session_id": self.room,
                            "content": "x",
                            "is_typing": True,
                            "status": "away",
                            "seq": 1,
                        },
                        timeout=60,
                    )
                    for _ in range(20)
                ]
                for reply in await asyncio.gather(*wave):
                    self.told["ok" if reply["ok"] else reply["error"]["code"]] += 1

    async def raw(self) -> None:
        async with RawClient(self.url.replace("http", "ws"), self.room, self.token) as raw:
            await raw.welcome()
            while True:
                await raw.send("message", content="x", reply=False)

    async def herd(self) -> None:
        """Connections with a token, without one, and silent ones."""
        at = urlsplit(self.url)
        async with web_client(base_url=self.url) as stranger:
            while True:
                with suppress(*GONE):
                    await self._count(stranger.get("/socket.io/?EIO=4&transport=polling"))
                with suppress(*GONE):
                    async with SioWebSocket(self.url.replace("http", "ws")) as socket:
                        answer = await socket.connect(self.token)
                        self.told["in" if "sid" in answer else answer["data"]["code"]] += 1
                silent = [await asyncio.open_connection(at.hostname, at.port) for _ in range(5)]
                await asyncio.sleep(0.2)
                for _, writer in silent:
                    writer.close()

    # ---

    async def _count(self, call: Awaitable[httpx.Response]) -> None:
        self.told[str((await call).status_code)] += 1

    async def go_on(self, what: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await what()
            except GONE as error:
                self.told[type(error).__name__] += 1
                await asyncio.sleep(0.1)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(urls: list[str], only: list[str]) -> None:
    told: Counter[str] = Counter()
    users = [Hostile(number, urls[number % len(urls)], told) for number in range(USERS)]
    for user in users:
        await user.begin()
    told.clear()
    give_way()  # attackers have machines of their own: this one's is for the nodes and the good
    tasks = []
    for number, user in enumerate(users):
        for turn in range(3):
            kind = KINDS[(number + turn * 2) % len(KINDS)]
            if kind in (only or KINDS):
                tasks.append(asyncio.create_task(user.go_on(getattr(user, kind))))
    say("ready")
    while True:
        await asyncio.sleep(1)
        say(json.dumps({"at": time.time(), **told}))


if __name__ == "__main__":
    addresses = [each for each in sys.argv[1:] if "://" in each]
    asyncio.run(main(addresses, [each for each in sys.argv[1:] if each not in addresses]))

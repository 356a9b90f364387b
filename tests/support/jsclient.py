"""The official Socket.IO client, unmodified, in its releases and runtimes: see tests/js/driver.mjs."""

import asyncio
import json
import os
from itertools import count
from typing import Any, Self

from tests.support.inbox import Inbox, Received
from tests.support.server import ROOT
from tests.support.services import program

_FOLDER = ROOT / "tests" / "js"
_MODULES = _FOLDER / "node_modules"

#: Runtime and package; the newest release is there without a number.
CLIENTS = {
    "node 3.1": ("node", "socket.io-client-3.1"),
    "node 4.0": ("node", "socket.io-client-4.0"),
    "node 4.5": ("node", "socket.io-client-4.5"),
    "node 4.8": ("node", "socket.io-client"),
    "bun 4.8": ("bun", "socket.io-client"),
    "deno 4.8": ("deno", "socket.io-client"),
    "chromium 4.8": ("chromium", "socket.io-client"),
}


def _packaged(name: str, *patterns: str) -> str:
    """A runtime that comes as a package of npm's, of which this machine has its platform's."""
    for pattern in patterns:
        for binary in _MODULES.glob(pattern):
            return str(binary)
    raise RuntimeError(f"{name} has no package for this machine in {_MODULES}: run make test")


def _command(runtime: str, package: str, page: str) -> list[str]:
    if runtime == "chromium":
        return [program("node"), "driver_chromium.mjs", package, page]
    script = ["driver.mjs", package]
    if runtime == "bun":
        return [_packaged("Bun", "@oven/bun-*/bin/bun"), *script]
    if runtime == "deno":
        return [_packaged("Deno", "@deno/*/deno"), "run", "--allow-all", "--no-remote", *script]
    return [program("node"), *script]


class JsSocket(Inbox):
    """One socket. Its own doings are events too: `connect` (`id`, `recovered`, `transport`),
    `disconnect` (`reason`), `connect_error` (`message`, `data`, `context`), `upgrade` (`transport`).
    """

    def __init__(self, clients: "JsClients", name: str) -> None:
        super().__init__(name)
        self._clients = clients

    async def emit(self, name: str, payload: Any = None, *, timeout: float = 10) -> dict[str, Any]:
        """Emit with an ack, as `socket.emitWithAck(name, payload)`; returns the ack."""
        return await self.emit_nowait(name, payload, timeout=timeout)

    def emit_nowait(self, name: str, payload: Any = None, *, timeout: float = 10) -> asyncio.Future[Any]:
        """Emit now; the future is the ack. Emitted in call order."""
        return self._call("emit", args=[name, payload], ack=True, timeout=timeout * 1000)

    async def send(self, name: str, *args: Any) -> None:
        """Emit without an ack."""
        await self._call("emit", args=[name, *args], ack=False)

    async def cut(self) -> None:
        """Reset its TCP connection (websocket transport). It connects again by itself."""
        await self._call("cut")

    async def half_open(self) -> None:
        """Leave the TCP connection open and silent, and connect again."""
        await self._call("halfOpen")

    async def pause(self) -> None:
        """Stop reading."""
        await self._call("pause")

    async def resume(self) -> None:
        await self._call("resume")

    async def close(self) -> None:
        """`socket.disconnect()`: it does not come back by itself."""
        await self._call("close")

    async def connect(self, auth: dict[str, Any] | None = None) -> None:
        await self._call("connect", auth=auth)

    async def set_auth(self, auth: dict[str, Any]) -> None:
        """What its next connect will send."""
        await self._call("auth", auth=auth)

    async def state(self) -> dict[str, Any]:
        """`id`, `pid`, `offset`, `connected`, `recovered`, `transport`."""
        state: dict[str, Any] = await self._call("state")
        return state

    async def connected(self, *, since: int = 0, timeout: float = 10) -> dict[str, Any]:
        return await self.wait_event("connect", since=since, timeout=timeout)

    def _call(self, command: str, **arguments: Any) -> asyncio.Future[Any]:
        return self._clients.call(command, client=self.name, **arguments)


class JsClients:
    """The process of one of `CLIENTS`. Use it in `async with`. A browser needs a `page` of the server's."""

    def __init__(self, client: str = "node 4.8", page: str = "") -> None:
        self._runtime, self._package = CLIENTS[client]
        self._page = page
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._sockets: dict[str, JsSocket] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stderr: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *_command(self._runtime, self._package, self._page),
            cwd=_FOLDER,
            env=self._environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]
        return self

    def _environment(self) -> dict[str, str]:
        env = {**os.environ, "DENO_NO_UPDATE_CHECK": "1"}
        if self._runtime == "chromium":
            env["CHROMIUM"] = program("chromium")
        return env

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks)

    async def open(
        self,
        url: str,
        token: str | None = None,
        *,
        transports: list[str] | None = None,
        name: str | None = None,
        wait: bool = True,
        auth: dict[str, Any] | None = None,
        **options: Any,
    ) -> JsSocket:
        """`io(url, options)`. Returns once connected, unless `wait` is False; a refusal is a
        ConnectionRefusedError with what `connect_error` told.
        """
        socket = JsSocket(self, name or f"js-{next(self._ids)}")
        self._sockets[socket.name] = socket
        if auth is None and token is not None:
            auth = {"token": token}
        if transports is not None:
            options["transports"] = transports
        if auth is not None:
            options["auth"] = auth
        await self.call("open", client=socket.name, url=url, options=options)
        if wait:
            await self._first_answer(socket)
        return socket

    async def _first_answer(self, socket: JsSocket) -> None:
        connected = asyncio.create_task(socket.wait_event("connect"))
        refused = asyncio.create_task(socket.wait_event("connect_error"))
        done, pending = await asyncio.wait([connected, refused], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if refused in done and connected not in done:
            raise ConnectionRefusedError(refused.result())
        connected.result()

    def call(self, command: str, **arguments: Any) -> asyncio.Future[Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "command": command, **arguments})
        self._process.stdin.write(line.encode() + b"\n")
        return answer

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "client" in said:
                self._sockets[said.pop("client")].add(_received(said))
                continue
            answer = self._waiting.pop(said["id"])
            if answer.done():
                continue
            if "error" in said:
                answer.set_exception(RuntimeError(said["error"]))
            else:
                answer.set_result(said["result"])
        reason = f"{self._runtime} ended: " + "".join(self._stderr)[-2000:]
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError(reason))
                answer.exception()
        for socket in self._sockets.values():
            socket.end(reason)

    async def _read_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._stderr.append(line.decode(errors="replace"))


def _received(said: dict[str, Any]) -> Received:
    kind = said.pop("event")
    if kind != "event":
        return Received(kind, said)
    first, *rest = said["args"] or [None]
    # What follows the payload is the offset of connection state recovery.
    position = rest[-1] if rest and isinstance(rest[-1], str) else None
    return Received(said["name"], first, position, tuple(rest))

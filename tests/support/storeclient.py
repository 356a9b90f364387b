"""`clients/js` in a Node process under a test's control: `tests/js/parley.mjs`."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.support.jslines import FOLDER, JsLines
from tests.support.server import ROOT

QUIET = """({ connection, pending, messages, turns }) => connection === "online" && !pending.length
  && !turns.length && messages.every(({ status }) => status !== "streaming")"""
PACKAGE = ROOT / "clients" / "js"
MODULES = FOLDER / "node_modules"


def beside(folder: Path) -> Path:
    """The package in a folder of its own, beside the one that it needs."""
    modules = folder / "node_modules"
    modules.mkdir(parents=True)
    shutil.copytree(PACKAGE, modules / "parley-client")
    for name in ("socket.io-client", "ws"):  # the second is for Node before 22, which has no WebSocket
        (modules / name).symlink_to(MODULES / name)
    return folder


class StoreClients(JsLines):
    """One process with any number of tabs."""

    def __init__(self, folder: Path) -> None:
        script = folder / "parley.mjs"
        shutil.copyfile(FOLDER / "parley.mjs", script)
        super().__init__(str(script))

    def tab(self, name: str, url: str, token: str, **given: str) -> "Tab":
        return Tab(self, name, url, token, **given)


class Tab:
    """A client of one user. A reload is another one with the same storage."""

    def __init__(
        self, clients: StoreClients, name: str, url: str, token: str | list[str], **given: str
    ) -> None:
        self.clients, self.name = clients, name
        self._opened: dict[str, Any] = {"url": url, "token": token, **given}

    async def open(self, *sessions: str | None) -> "Tab":
        """Subscribes to these sessions, and to the list for None."""
        await self.do("open", **self._opened)
        for session in sessions:
            await self.do("watch", session=session)
        return self

    async def reload(self, *sessions: str | None) -> "Tab":
        await self.do("close")
        return await self.open(*sessions)

    async def do(self, command: str, *, timeout: float = 30, **given: Any) -> Any:
        return await self.clients.call(command, tab=self.name, timeout=timeout, **given)

    async def act(self, session: str | None, method: str, *args: Any) -> Any:
        return await self.do("act", session=session, method=method, args=args)

    async def until(self, session: str | None, holds: str, *, timeout: float = 20) -> dict[str, Any]:
        """The first snapshot that a function of JavaScript's is true of."""
        try:
            shown: dict[str, Any] = await self.do("until", session=session, holds=holds, timeout=timeout)
        except TimeoutError:
            seen = json.dumps(await self.do("state", session=session), ensure_ascii=False)
            raise TimeoutError(f"{self.name} never came to {holds}: {seen[-3000:]}") from None
        return shown

    async def quiet(self, session: str, *, timeout: float) -> None:
        """Nothing is on its way."""
        await self.until(session, QUIET, timeout=timeout)

    async def state(self, session: str | None = None) -> dict[str, Any]:
        shown: dict[str, Any] = await self.do("state", session=session)
        return shown

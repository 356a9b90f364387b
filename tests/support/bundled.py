"""A page of `examples/`, unmodified, in Chromium: `tests/js/bundled.mjs`."""

from typing import Any

from tests.support.jslines import JsLines
from tests.support.server import ROOT


class ExampleBrowser(JsLines):
    """A Chromium, with the page that is built from `examples/EXAMPLE` standing at `port`."""

    def __init__(self, example: str, port: int) -> None:
        super().__init__("bundled.mjs", str(ROOT / "examples" / example / "src/main.tsx"), str(port))


class ExamplePage:
    """One tab. `query` is what its address says."""

    def __init__(self, browser: ExampleBrowser, query: dict[str, str]) -> None:
        self._browser, self._query, self.name = browser, query, browser.new_name()

    async def open(self) -> "ExamplePage":
        await self.do("open", query=self._query)
        return self

    async def do(self, command: str, **given: Any) -> Any:
        return await self._browser.call(command, name=self.name, timeout=30, **given)

    async def wait(self, text: str) -> None:
        await self.do("wait", text=text)

    async def shown(self, test: str) -> list[str]:
        found = await self.do("shown", test=test)
        assert found["faults"] == []
        texts: list[str] = found["texts"]
        return texts

"""Pages of `examples/`, unmodified, in Chromium: `tests/js/bundled.mjs`."""

from typing import Any

from tests.support.jslines import JsLines


class ExampleBrowser(JsLines):
    """A Chromium, with the pages standing at `port`."""

    def __init__(self, port: int) -> None:
        super().__init__("bundled.mjs", str(port))


class ExamplePage:
    """One tab, of `examples/EXAMPLE` or of what stands at `address`. `query` is what its address says.
    `bundled`: of what `source` it is in place of `examples/`, and in which `mode` of React's."""

    def __init__(
        self,
        browser: ExampleBrowser,
        example: str = "",
        query: dict[str, str] | None = None,
        *,
        address: str = "",
        **bundled: str,
    ) -> None:
        self._browser, self.name = browser, browser.new_name()
        self._where = {"example": example, "query": query or {}, "address": address, **bundled}

    async def open(self) -> "ExamplePage":
        await self.do("open", **self._where)
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

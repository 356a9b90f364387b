"""Agents of AG-UI's real client, and of CopilotKit's, in a Node process of their own: `tests/js/agui.mjs`."""

from typing import Any

from tests.support.jslines import JsLines
from tests.support.server import Server

State = dict[str, Any]


class Agents(JsLines):
    def __init__(self) -> None:
        super().__init__("agui.mjs")

    async def agent(
        self,
        node: Server,
        agent: str,
        thread: str,
        sub: str = "alice",
        *,
        copilotkit: bool = False,
        **more: Any,
    ) -> "AgUiAgent":
        """A page's agent: an `HttpAgent`, or CopilotKit's."""
        name = self.new_name()
        where = (
            {"runtime": f"{node.url}/api/ag-ui"} if copilotkit else {"url": f"{node.url}/api/ag-ui/{agent}"}
        )
        await self.call(
            "agent", name=name, agent=agent, token=node.token(sub), thread=thread, **where, **more
        )
        return AgUiAgent(self, name)


class AgUiAgent:
    """One of them. What it does answers with its state then."""

    def __init__(self, agents: Agents, name: str) -> None:
        self._agents, self.name = agents, name

    async def _do(self, command: str, **given: Any) -> State:
        state: State = await self._agents.call(command, name=self.name, **given)
        return state

    async def run(self, text: str = "", **more: Any) -> State:
        return await self._do("run", text=text, **more)

    async def connect(self, *, apart: bool = False) -> State:
        return await self._do("connect", apart=apart)

    async def abort(self) -> None:
        await self._do("abort")

    async def say(self, messages: list[Any]) -> None:
        await self._do("say", messages=messages)

    async def until(self, test: str, **timeout: float) -> State:
        return await self._do("until", test=test, **timeout)

    async def state(self) -> State:
        return await self._do("state")


def types(state: State) -> list[str]:
    """Of the events, a row of equal ones as one."""
    names = [event["type"] for event in state["events"]]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def texts(state: State) -> list[tuple[str, str]]:
    return [(message["role"], message.get("content")) for message in state["messages"]]

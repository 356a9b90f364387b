"""A session of a person and of an agent's worker, which the test controls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.agents.worker import Worker
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server


class Scene:
    """`alice` asks `worker`'s agent in a session of their own."""

    def __init__(self, node: Server, agent: int, session_id: str, alice: Door, worker: Worker) -> None:
        self.node, self.agent, self.session_id = node, agent, session_id
        self.alice, self.worker = alice, worker

    async def ask(self, text: str, **more: Any) -> str:
        sent = await self.alice.call("message", content=text, **more)
        message_id: str = sent["message_id"]
        return message_id

    async def begun(self, text: str = "first", piece: str = "so ") -> tuple[str, dict[str, Any], str]:
        """A question whose answer is open: its id, the request, the answer's id."""
        question = await self.ask(text)
        request = await self.worker.request()
        return question, request, await self.worker.write(request, piece, end=False)

    async def end(self, answer: str) -> None:
        ended = await self.worker.call("stream_end", session_id=self.session_id, message_id=answer)
        assert ended["ok"], ended

    async def told(self, question: str, state: str) -> dict[str, Any]:
        """The event that tells of a question's state."""
        return await self.alice.wait_event(
            "turn", lambda turn: (turn["message_id"], turn["state"]) == (question, state)
        )

    async def open(self) -> list[tuple[str, str]]:
        """What one who joins now is told."""
        async with enter("websocket", self.node, "alice", self.session_id) as late:
            return [(turn["message_id"], turn["state"]) for turn in late.joined["turns"]]


@asynccontextmanager
async def scene(node: Server, workers: Server | None = None, **settings: Any) -> AsyncIterator[Scene]:
    """`workers`: the node that they are connected to, if it is another one."""
    async with node.api("backend", "service") as api:
        body = {"name": "Remote", "kind": "remote", **settings}
        made = await api.post("/api/chat/agents", json=body)
        agent = made.json()["id"]
    session_id = await new_session(node, agent_id=agent)
    async with (
        Worker(workers or node, agent) as worker,
        enter("websocket", node, "alice", session_id) as alice,
    ):
        yield Scene(node, agent, session_id, alice, worker)

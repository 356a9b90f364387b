"""A conversation of two with an agent whose worker the test is, at two nodes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.agents.worker import Worker
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server


class Talk:
    """`alice` owns the session and is at the first node; `bob`, a member, and the worker at the second."""

    def __init__(self, nodes: Sequence[Server], session_id: str, alice: Door, bob: Door, worker: Worker):
        self.nodes, self.session_id = nodes, session_id
        self.alice, self.bob, self.worker = alice, bob, worker

    async def ask(self, text: str, **more: Any) -> str:
        sent = await self.alice.message(text, **more)
        message_id: str = sent["message_id"]
        return message_id

    async def answer(self, question: str, text: str) -> tuple[str, list[str]]:
        """Its id, and what the worker was told before the question."""
        request = await self.worker.request()
        assert request["message"]["message_id"] == question
        answer = await self.worker.write(request, text)
        await self.alice.wait_event("stream_end", lambda end: end["message_id"] == answer)
        return answer, [message["content"] for message in request["history"]]

    async def round(self, text: str) -> tuple[str, str]:
        """A question and its answer."""
        question = await self.ask(text)
        return question, (await self.answer(question, f"re: {text}"))[0]

    async def call(self, command: str, /, **payload: Any) -> dict[str, Any]:
        reply = await self.alice.call(command, **payload)
        assert reply["ok"], reply
        return reply

    async def refused(self, command: str, /, **payload: Any) -> str:
        reply = await self.alice.call(command, **payload)
        assert not reply["ok"], reply
        code: str = reply["error"]["code"]
        return code

    async def joined(self, node: int, **join: Any) -> dict[str, Any]:
        """What one who joins now is told."""
        async with enter("websocket", self.nodes[node], "bob", self.session_id, limit=500, **join) as late:
            return late.joined

    async def path(self) -> list[str]:
        """The ids of the messages that everybody is shown, which is the same for all."""
        seen = [(await self.joined(node))["messages"] for node in (0, 1)]
        seen.append(await self.bob.history())
        assert [ids(messages) for messages in seen] == [ids(seen[0])] * 3
        return ids(seen[0])

    async def head_moved(self, head_id: str) -> None:
        """Both are told so."""
        for door in (self.alice, self.bob):
            await door.wait_event(
                "session", lambda event: event["event"] == "head" and event["head_id"] == head_id
            )


def ids(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [message["message_id"] for message in messages]


@asynccontextmanager
async def talk(nodes: Sequence[Server], **settings: Any) -> AsyncIterator[Talk]:
    async with nodes[0].api("backend", "service") as api:
        body = {"name": "Remote", "kind": "remote", **settings}
        agent = (await api.post("/api/chat/agents", json=body)).json()["id"]
    session_id = await new_session(nodes[0], agent_id=agent, members=("bob",))
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as alice,
        enter("websocket", nodes[1], "bob", session_id) as bob,
    ):
        yield Talk(nodes, session_id, alice, bob, worker)

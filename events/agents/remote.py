"""Workers that connect from outside: a request goes to one of them, and if it does not ack, to the next.

Knows no transport: a worker is a connection with an agent's token that can be asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from events.agents.base import Request
from events.errors import AgentUnavailable
from events.event import to_json
from events.hub import Hub
from events.room import Connection

#: Seconds until a worker that has not acked a request is passed over (contract, section 5).
ACK_TIMEOUT = 5.0

#: Seconds between looks whether a worker has read what it was asked before, and bytes of a packet's head.
BEHIND, HEAD = 0.1, 256

#: Whether a worker took a request: of an agent's key, for a session, as JSON.
Offer = Callable[[str, str, bytes], Awaitable[bool]]


class Workers:
    """The workers of this node, in turn."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._turn: dict[str, int] = {}

    def has(self, key: str, session_id: str) -> bool:
        """Whether a worker of this agent for this session is connected to this node."""
        return bool(self._workers(key, session_id))

    async def offer(self, key: str, session_id: str, payload: bytes) -> bool:
        """Whether a worker on this node acked the request. Where those that could have not read what they
        were asked before, it waits for a while: nobody's questions cut off a worker."""
        time = asyncio.get_running_loop().time
        until = time() + ACK_TIMEOUT
        while not await self._offered(key, session_id, payload):
            if time() >= until or not any(self._behind(key, session_id, len(payload))):
                return False
            await asyncio.sleep(BEHIND)
        return True

    def _behind(self, key: str, session_id: str, size: int) -> Iterator[bool]:
        return (not worker.sink.has_room(size + HEAD) for worker in self._workers(key, session_id))

    async def _offered(self, key: str, session_id: str, payload: bytes) -> bool:
        for worker in self._in_turn(key, session_id):
            if not worker.sink.has_room(len(payload) + HEAD):
                continue
            try:
                async with asyncio.timeout(ACK_TIMEOUT):
                    reply = await worker.ask("agent_request", payload)
                if not _refused(reply):
                    return True
            except (TimeoutError, asyncio.CancelledError, ConnectionError):
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise  # it is we who are cancelled, not the worker that went away
        return False

    def _workers(self, key: str, session_id: str) -> list[Connection]:
        """Without those whose token is for other sessions."""
        mine = self._hub.of_user(key)
        return [c for c in mine if c.can_be_asked and c.caller.reaches(session_id)]

    def _in_turn(self, key: str, session_id: str) -> list[Connection]:
        workers = self._workers(key, session_id)
        if not workers:
            return []
        turn = self._turn.get(key, 0) % len(workers)
        self._turn[key] = turn + 1
        return workers[turn:] + workers[:turn]


def _refused(reply: object) -> bool:
    """A worker that is about to end, or has its hands full, says `{ok: false}`: the next one is asked."""
    said = reply[0] if isinstance(reply, list) and reply else None
    return isinstance(said, dict) and said.get("ok") is False


class HandOut:
    """A request goes to a worker on this node, or else to one on another: `elsewhere` asks those."""

    def __init__(self, workers: Workers, elsewhere: Offer | None) -> None:
        self._workers, self._elsewhere = workers, elsewhere

    async def __call__(self, request: Request) -> None:
        """Raises AgentUnavailable if no worker takes it."""
        told: dict[str, Any] = {
            "session_id": request.session_id,
            "message": request.message,
            "history": request.history,
            "fence": request.fence,
        }
        if request.resume is not None:
            told["resume"] = request.resume
        if request.tools:
            told["tools"] = request.tools
        payload = to_json(told)
        key = f"agent:{request.agent.id}"
        if await self._workers.offer(key, request.session_id, payload):
            return
        if self._elsewhere is not None and await self._elsewhere(key, request.session_id, payload):
            return
        raise AgentUnavailable("no worker of this agent took the request")

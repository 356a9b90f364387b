"""Requests for workers that are connected to other nodes: asked around, then handed to one node.

Two steps, so that a request goes to one worker: first who has any, then one of those after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from events.ids import new_id
from events.tasks import Tasks
from storage.interfaces import Bus

#: Seconds until a node that has a worker has said so.
OFFERS = 1.0
#: Seconds until a node has asked its workers; each has its own time to ack.
PATIENCE = 20.0


class Said(msgspec.Struct, array_like=True):
    """What nodes say to each other of a request for `key` in `session`. `node` says it; `taken` is the
    answer to `take`."""

    what: Literal["who", "here", "take", "done"]
    ask: str
    node: str
    key: str = ""
    payload: bytes = b""
    taken: bool = False
    session: str = ""


class _Ask:
    """A request that is on its way round."""

    def __init__(self) -> None:
        self.offers: asyncio.Queue[str] = asyncio.Queue()
        self.answers: dict[str, asyncio.Future[bool]] = {}


class OtherNodes:
    """`has` tells whether a worker of an agent is here, `offer` asks those that are."""

    def __init__(
        self,
        bus: Bus,
        node: str,
        has: Callable[[str, str], bool],
        offer: Callable[[str, str, bytes], Awaitable[bool]],
        tasks: Tasks,
    ) -> None:
        self._bus, self._node = bus, node
        self._has, self._offer, self._tasks = has, offer, tasks
        self._asks: dict[str, _Ask] = {}

    async def ask(self, key: str, session_id: str, payload: bytes) -> bool:
        """Whether a worker on another node acked the request."""
        name = new_id("ask")
        ask = self._asks[name] = _Ask()
        tried: set[str] = set()
        try:
            # Only nodes with a connection of that identity hear this channel.
            self._say(f"user:{key}", Said("who", name, self._node, key, session=session_id))
            while True:
                async with asyncio.timeout(OFFERS):
                    node = await ask.offers.get()
                if node not in tried:
                    tried.add(node)
                    request = Said("take", name, self._node, key, payload, session=session_id)
                    if await self._hand(ask, node, request):
                        return True
        except TimeoutError:
            return False
        finally:
            del self._asks[name]

    async def _hand(self, ask: _Ask, node: str, request: Said) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        ask.answers[node] = answer
        self._say(f"node:{node}", request)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return False  # it died, maybe; if its worker begins all the same, a message has one answer

    def _say(self, channel: str, said: Said) -> None:
        self._bus.signal(channel, "workers", msgspec.msgpack.encode(said))

    def heard(self, channel: str, body: bytes) -> None:
        """A signal `workers` came."""
        said = msgspec.msgpack.decode(body, type=Said)
        if said.node == self._node:
            return
        if said.what == "who":
            if self._has(said.key, said.session):
                self._say(f"node:{said.node}", Said("here", said.ask, self._node))
        elif said.what == "take":
            self._tasks.spawn(self._take(said))
        elif (ask := self._asks.get(said.ask)) is not None:
            answer = ask.answers.get(said.node)
            if said.what == "here":
                ask.offers.put_nowait(said.node)
            elif answer is not None and not answer.done():
                answer.set_result(said.taken)

    async def _take(self, said: Said) -> None:
        taken = await self._offer(said.key, said.session, said.payload)
        self._say(f"node:{said.node}", Said("done", said.ask, self._node, taken=taken))

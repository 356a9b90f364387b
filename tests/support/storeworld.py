"""Readers who talk, change their minds, lose their networks and reload, by a seed.

What the stores of `clients/js` and `clients/python` show is the server's history once all is quiet, and what
was said is there once, in order.
"""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from typing import Any, Self

from tests.support.doors import new_session
from tests.support.proxy import Proxy
from tests.support.pystore import PyStores, PyTab
from tests.support.server import Server
from tests.support.storeclient import StoreClients, Tab

#: Two tabs of one user, who share what is pending, and another user.
TABS = {"alice-1": "alice", "alice-2": "alice", "bob": "bob"}
DEEDS = {
    "say": 24, "ask": 5, "edit": 5, "branch": 3, "remove": 3, "regenerate": 3, "select": 4, "stop": 3,
    "read": 3, "typing": 2, "older": 2, "cut": 4, "half_open": 2, "refuse": 2, "mid_frame": 3, "reload": 4,
    "rest": 6,
}  # fmt: skip
FAULTS = ("cut", "half_open", "refuse", "mid_frame")
#: What a reader sees of a message.
COMPARED = (
    "message_id", "seq", "revision", "sender_type", "sender_id", "message_type", "content", "parts", "status",
    "metadata", "error", "reply_to", "is_edited", "edited_at", "deleted_at", "parent_id", "siblings",
    "tokens_used", "client_message_id", "finish_reason",
)  # fmt: skip


def seen(message: dict[str, Any]) -> dict[str, Any]:
    """A message's fields, with the parts that the wire leaves out where they are one text.

    The start of an answer tells no key of the agent's.
    """
    content = message.get("content")
    plain = [{"id": "text", "type": "text", "text": content}] if content else []
    fields = {name: message.get(name) for name in COMPARED} | {"parts": message.get("parts", plain)}
    return fields | ({"client_message_id": None} if fields["sender_type"] == "agent" else {})


class World:
    """Readers before `nodes`: each comes to one of them through a network of its own."""

    def __init__(
        self, clients: StoreClients | PyStores, nodes: list[Server], seed: int, transport: str, agent: int = 1
    ) -> None:
        self.clients, self.nodes, self.transport = clients, nodes, transport
        self.random, self.agent = random.Random(seed), agent
        self.session, self.refuge = "", nodes[0]
        self.said: dict[str, list[str]] = {name: [] for name in TABS}
        self.tabs: dict[str, Tab | PyTab] = {}
        self.networks: dict[str, Proxy] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.session = await new_session(self.refuge, "alice", members=("bob",), agent_id=self.agent)
        prefix = self.clients.new_name()
        for at, (name, user) in enumerate(TABS.items()):
            node = self.nodes[at % len(self.nodes)]
            network = await self._stack.enter_async_context(Proxy(node.port))
            token, storage = node.token(user), f"{prefix} {user}"
            given = {"storage": storage, "transport": self.transport}
            tab = self.clients.tab(f"{prefix} {name}", network.url, token, **given)
            self.networks[name], self.tabs[name] = network, await tab.open(self.session)
        return self

    async def __aexit__(self, *_: object) -> None:
        for tab in self.tabs.values():
            await tab.do("close")
        await self._stack.aclose()

    async def live(self, deeds: int) -> None:
        kinds, weights = list(DEEDS), list(DEEDS.values())
        for _ in range(deeds):
            (kind,) = self.random.choices(kinds, weights)
            await self._do(kind, self.random.choice(list(TABS)))

    async def _do(self, kind: str, name: str) -> None:
        tab, network = self.tabs[name], self.networks[name]
        if kind in ("say", "ask"):
            text = f"{name} {len(self.said[name])}"
            self.said[name].append(text)
            await tab.do("say", session=self.session, text=text, more={"reply": kind == "ask"})
        elif kind == "rest":
            await asyncio.sleep(self.random.uniform(0, 0.05))
        elif kind == "reload":
            await tab.reload(self.session)
        elif kind == "refuse":
            network.refusing = True
            network.cut()
            later = self.random.uniform(0, 0.5)
            asyncio.get_running_loop().call_later(later, setattr, network, "refusing", False)
        elif kind == "mid_frame":
            network.cut_after(self.random.randrange(1, 3000))
        elif kind in FAULTS:
            getattr(network, kind)()
        else:
            await tab.do("fiddle", session=self.session, kind=kind, number=self.random.randrange(1000))

    def dies(self, node: Server) -> None:
        """It is killed; its readers' networks lead to another one."""
        (refuge, *_) = [each for each in self.nodes if each is not node]
        node.kill9()
        for network in self.networks.values():
            if network.target == node.port:
                network.target = refuge.port
                network.cut()
        self.refuge = refuge

    async def settles(self, within: float = 30) -> None:
        """All is quiet, and everybody sees what the server has: nothing lost, doubled or out of order."""
        for network in self.networks.values():
            network.refusing, network._cut_after = False, None
        deadline = time.monotonic() + within
        while (differs := await self._differs(deadline)) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert not differs, differs
        tree = await self._tree()
        told = [message.get("client_message_id") for message in sorted(tree, key=lambda each: each["seq"])]
        for name, texts in self.said.items():
            assert [text for text in told if (text or "").rpartition(" ")[0] == name] == texts

    async def _differs(self, deadline: float) -> str:
        for name, tab in self.tabs.items():
            await tab.quiet(self.session, timeout=max(5.0, deadline - time.monotonic()))
            shown = await tab.do("whole", session=self.session)
            assert shown["faults"] == [], shown["faults"]
            ours, theirs = [seen(each) for each in shown["messages"]], await self._path()
            if ours != theirs:
                found = [(one, other) for one, other in zip(ours, theirs, strict=False) if one != other]
                return f"{name} ({len(ours)} of {len(theirs)}): {json.dumps(found[:1], ensure_ascii=False)}"
        return ""

    async def _pages(self, key: str, **query: Any) -> list[dict[str, Any]]:
        """All pages of the history, from the newest on."""
        found: list[dict[str, Any]] = []
        async with self.refuge.api("alice") as api:
            while True:
                path = f"/api/chat/sessions/{self.session}/messages"
                page = (await api.get(path, params={"limit": 500, **query})).json()
                found = page[key] + found
                if not page["has_more"]:
                    return found
                first = page[key][0]
                query["before_seq"] = first.get("message", first)["seq"]

    async def _path(self) -> list[dict[str, Any]]:
        return [seen(message) for message in await self._pages("messages")]

    async def _tree(self) -> list[dict[str, Any]]:
        return [node["message"] for node in await self._pages("tree", tree="true")]

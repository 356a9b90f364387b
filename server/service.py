"""The service API for an application's backend (contract, section 9), over all nodes."""

import asyncio
import secrets
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw

from events.access import Caller
from events.clock import rfc3339, when
from events.custom import custom
from events.errors import Unauthorized
from events.event import to_json
from events.room import Connection
from events.views import event_of
from events.webhooks.teller import Teller
from server.node.build import Node
from storage.records import MessageRecord
from storage.senders import sender_of
from storage.turns import in_steps

#: Seconds that other nodes have to answer a question.
PATIENCE = 0.5
#: Rows of `connections` from one node.
ROWS = 10_000
#: Rows that are made, and connections that are closed, in one turn of the loop: each takes 10 to 50 µs.
MADE, CLOSED = 200, 20


class Question(msgspec.Struct):
    """From one node to all. `what`: "stats" or "connections"."""

    id: str
    node: str
    what: str
    user_id: str | None = None
    session_id: str | None = None


class NodeAnswer(msgspec.Struct):
    id: str
    node: str
    body: Raw


class Order(msgspec.Struct):
    """End the connections of a caller's key; with `before`, refuse its tokens issued up to then, too."""

    user_id: str
    node: str
    before: float | None = None


class ServiceApi:
    """One per node."""

    def __init__(self, node: Node, teller: Teller) -> None:
        self._teller, self._notes = teller, node.stores.notes
        self._services, self._node_id, self._tasks = node.services, node.core.node_id, node.core.tasks
        self._answering = node.answers.answering
        self._bus, self._messages = node.delivering.backends.bus, node.stores.messages
        self._revoked, self._names = node.gate.revoked, node.gate.names
        self._files, self._admission = node.members.file_care, node.admission
        self.feedback = node.members.feedback
        self._spread = node.delivering.outage is not None  # there may be other nodes
        self._asked: dict[str, list[NodeAnswer]] = {}
        node.core.signals.on("disconnect", self._heard)
        node.core.signals.on("question", self._questioned)
        node.core.signals.on("answer", self._answered)
        node.core.signals.on("erased", lambda channel, body: self._names.forget(body.decode()))

    # --- publish

    async def publish(
        self, caller: Caller, session_id: str | None, user_id: str | None, name: str, data: Any
    ) -> None:
        """Raises ValidationFailed, SessionNotFound, Unavailable."""
        services = self._services
        if session_id is not None:
            event = custom(session_id, name, data)
            await services.sessions.get_session(caller, session_id)
            services.delivery.publish(event)
        elif user_id is not None:
            services.delivery.to_user(user_id, custom("", name, data, only_user=user_id))

    # --- disconnect

    async def disconnect(self, key: str, *, revoke: bool) -> None:
        """Raises Unavailable where a revocation cannot be written."""
        before = await self._revoked.revoke(key) if revoke else None
        order = Order(key, self._node_id, before)
        if self._spread:
            self._bus.signal("all", "disconnect", to_json(order))
        await self._carry_out(order)

    def _heard(self, channel: str, body: bytes) -> None:
        order = msgspec.json.decode(body, type=Order)
        # Not a second time: a client may have come back meanwhile.
        if order.node != self._node_id:
            self._tasks.spawn(self._carry_out(order))

    async def _carry_out(self, order: Order) -> None:
        if order.before is not None:
            self._revoked.note(order.user_id, order.before)
        hub = self._services.hub
        async for some in in_steps(hub.of_user(order.user_id), CLOSED):
            for conn in some:
                if hub.connections.get(conn.id) is not conn:
                    continue  # gone meanwhile
                error = Unauthorized("disconnected by the service")
                if order.before is None:
                    conn.send_away(error)
                else:
                    conn.end(error)

    # --- what there is

    async def stats(self) -> dict[str, Any]:
        answers = await self._ask(Question(secrets.token_hex(8), self._node_id, "stats"))
        nodes = [{"node": answer.node, **msgspec.json.decode(answer.body)} for answer in answers]
        return {
            "connections": sum(node["connections"] for node in nodes),
            "rooms": sum(node["rooms"] for node in nodes),
            "streams": sum(node["streams"] for node in nodes),
            "active_sessions": await self._services.sessions.get_active_session_count(),
            "nodes": sorted(nodes, key=lambda node: str(node["node"])),
        }

    async def connections(self, user_id: str | None, session_id: str | None) -> tuple[bytes, int]:
        """The rows of all nodes as one JSON array, and how many they are."""
        question = Question(
            secrets.token_hex(8),
            self._node_id,
            "connections",
            user_id=user_id,
            session_id=session_id,
        )
        rows: list[Raw] = []
        for answer in await self._ask(question):
            rows += msgspec.json.decode(answer.body, type=list[Raw])
            await asyncio.sleep(0)
        return b"[" + b",".join(rows) + b"]", len(rows)

    async def _ask(self, question: Question) -> list[NodeAnswer]:
        """This node's answer and those that come in time: a node that hangs is left out, as a dead one."""
        mine = await self._answer(question)
        if not self._spread or not self._services.delivery.live:
            return [mine]
        answers = self._asked[question.id] = [mine]
        try:
            self._bus.signal("all", "question", to_json(question))
            await asyncio.sleep(PATIENCE)
        finally:
            del self._asked[question.id]
        return answers

    def _questioned(self, channel: str, body: bytes) -> None:
        question = msgspec.json.decode(body, type=Question)
        if question.node != self._node_id:
            self._tasks.spawn(self._tell_asker(question))

    async def _tell_asker(self, question: Question) -> None:
        answer = await self._answer(question)
        self._bus.signal(f"node:{question.node}", "answer", to_json(answer))

    def _answered(self, channel: str, body: bytes) -> None:
        answer = msgspec.json.decode(body, type=NodeAnswer)
        waiting = self._asked.get(answer.id)
        if waiting is not None:
            waiting.append(answer)

    async def _answer(self, question: Question) -> NodeAnswer:
        if question.what == "connections":
            body = await self._rows(question.user_id, question.session_id)
        else:
            body = to_json(self._counts())
        return NodeAnswer(question.id, self._node_id, Raw(body))

    def _counts(self) -> dict[str, Any]:
        hub = self._services.hub
        return {
            "connections": len(hub.connections),
            "rooms": len(hub.rooms),
            "streams": self._services.streams.count(),
            "users": len(hub.users),
            "draining": self._admission.draining,
        }

    async def _rows(self, user_id: str | None, session_id: str | None) -> bytes:
        """A JSON array, of `ROWS` at most."""
        node, rows = self._node_id, []
        async for some in in_steps(islice(self._seats(user_id, session_id), ROWS), MADE):
            rows += [to_json(_row(conn, room, node)) for conn, room in some]
        return b"[" + b",".join(rows) + b"]"

    def _seats(self, user_id: str | None, session_id: str | None) -> Iterator[tuple[Connection, str | None]]:
        """Each connection with each session that it is in; None where there is none."""
        hub = self._services.hub
        if session_id is not None:
            room = hub.rooms.get(session_id)
            for member in tuple(room.members.values()) if room is not None else ():
                if not member.hidden and user_id in (None, member.conn.caller.key):
                    yield member.conn, session_id
            return
        for conn in hub.of_user(user_id) if user_id is not None else tuple(hub.connections.values()):
            names = [member.room.name for member in conn.rooms if not member.hidden]
            for name in names or (None,):
                yield conn, name

    # --- erase

    async def erase_user(self, key: str) -> tuple[int, int]:
        """(messages, files) of a user that are gone, as are name, picture and feedback; members are told.
        Raises Unavailable."""
        services, messages = self._services, 0
        _, sender_id = sender_of(key)
        while True:
            erased = await self._messages.erase_user(sender_id, now=when(services.clock()))
            if not erased:
                break
            messages += len(erased)
            self._tell(erased)
            await self._answering.erased(erased)
        while forgotten := await self._messages.erase_answers(key, now=when(services.clock())):
            self._tell(forgotten)
        if self._spread:  # whoever holds the name unwritten writes it no more
            self._bus.signal("all", "erased", key.encode())
        await self._names.erase(key)
        await self.feedback.erase_user(key)
        await self._notes.erase_user(key)
        return messages, await self._files.erase_user(key)

    def _tell(self, erased: list[MessageRecord]) -> None:
        now = rfc3339(when(self._services.clock()))
        self._teller.on_changed(erased)
        rooms: dict[str, list[MessageRecord]] = {}
        for record in sorted(erased, key=lambda record: record.revision):
            rooms.setdefault(record.session_id, []).append(record)
        for room, records in rooms.items():
            self._services.delivery.logs.announce(
                room, [event_of(one, now, created=False) for one in records]
            )


def _row(conn: Connection, room: str | None, node: str) -> dict[str, Any]:
    return {
        "connection_id": conn.id,
        "user_id": conn.caller.key,
        "session_id": room,
        "transport": conn.transport,
        "connected_at": rfc3339(when(conn.connected_at)),
        "last_ping": rfc3339(when(conn.last_ping)),
        "node": node,
    }

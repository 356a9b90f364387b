"""What has to be right once nothing fails any more: clients show what the database has, and who is there."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.model.client import Client
from tests.model.node import Node
from tests.model.sql import Sql
from tests.support.saying import Message
from tests.support.shown import Part, parts_of

ROOMS = ("A", "B")
#: Seconds of rest after which everything has to be right: NODE_LEASE, the pings of half-open sockets, the
#: silence of dead producers, and some polls.
REST = 36.0
#: Seconds for which everything is right already, and nobody waits for anything, when a rest may end: longer
#: than the pings and the leases. Most schedules are right after two seconds, and time is what they cost.
STILL, LOOK = 10.5, 1.5
#: One schedule in so many rests for all of REST: what comes later has to be right, too.
WHOLE = 8


class Judge:
    """A world that rests, and is judged."""

    nodes: Mapping[str, Node]
    clients: Sequence[Client]
    sql: Sql
    failure: str | None
    marks_lost: Mapping[str, Mapping[str, int]]

    def wrong(self, text: str) -> None:
        raise NotImplementedError

    def do_start_node(self, everything: bool = False) -> None:
        raise NotImplementedError

    # --- rest

    async def _rest_for(self, seconds: float) -> None:
        for _ in range(3):
            await asyncio.sleep(seconds / 3)
            self.do_start_node(everything=True)

    async def _rest_until_still(self, most: float) -> None:
        rested = still = 0.0
        while rested < most and still < STILL and not self.failure:
            await asyncio.sleep(LOOK)
            rested += LOOK
            still = still + LOOK if self._is_right() else 0.0
            self.do_start_node(everything=True)

    def _is_right(self) -> bool:
        """All that the verdict asks for; and nothing is under way that could change it."""
        if self.failure is not None:  # what was wrong while it rested stays so
            return False
        all_there = all(node.alive for node in self.nodes.values())
        if not all_there or self.sql.has_open_streams() or any(client.waits for client in self.clients):
            return False
        self._verdict()
        is_right, self.failure = self.failure is None, None
        return is_right

    # --- the verdict

    def _verdict(self) -> None:
        for client in self.clients:
            if client.views and not client.connected:
                self.wrong(f"{client.name} could not come back")
            for room, view in client.views.items():
                self._compare(client, room, view)
            self._compare_said(client)
            for message_id, least in client.edited.items():
                number = self.sql.edit_number(message_id)
                if number is not None and number < least:
                    self.wrong(
                        f"{client.name}'s edit {least} of {message_id} was undone by its edit {number}"
                    )
            for key, message_id in client.acked.items():
                found = self.sql.by_client_key(client.name, key)
                if found != [message_id]:
                    self.wrong(f"{client.name}'s acknowledged {key} is {found} in SQL")

        for room in ROOMS:
            if not self.sql.times_ascend(room):
                self.wrong(f"created_at falls back along seq in {room}")

    def _compare(self, client: Client, room: str, view: Any) -> None:
        who = f"{client.name} in {room}"
        if not view.joined:
            self.wrong(f"{who} has not joined")
            return
        stored = self._shown_to(room, view)
        if set(view.messages) != set(stored):
            missing, more = set(stored) - set(view.messages), set(view.messages) - set(stored)
            self.wrong(f"{who} lacks {sorted(missing)} and has {sorted(more)} too many")
            return
        for message_id, (made, status, deleted) in stored.items():
            shown = view.messages[message_id]
            if bool(shown.get("deleted_at")) != deleted:
                self.wrong(f"{who}: {message_id} deleted: {deleted}")
            elif not deleted and shown["status"] != status:
                self.wrong(f"{who}: {message_id} is {shown['status']}, in SQL {status}")
            elif not deleted and message_id not in client.said:
                self._compare_made(f"{who}: {message_id}", shown, made)
        marks = self.sql.read_marks(room)
        shown = {user: seq for user, seq in view.reads.items() if seq}
        # What the database lost may be told still, or again.
        had = [*view.told.items(), *self.marks_lost.get(room, {}).items()]
        lost = {user: seq for user, seq in had if shown.get(user) == seq > marks.get(user, 0)}
        if shown != marks | lost:
            self.wrong(f"{who} knows of the read marks {view.reads}, in SQL {marks}")
        there = {c.name for c in self.clients if c.connected and room in c.views and c.views[room].joined}
        if view.online != there:
            self.wrong(f"{who} sees {sorted(view.online)} online; there are {sorted(there)}")
        if view.sure and view.typing:
            self.wrong(f"{who} sees {sorted(view.typing)} typing for ever")

    def _shown_to(self, room: str, view: Any) -> dict[str, tuple[dict[str, Any], str, bool]]:
        """As `Sql.messages`: what a page has to know of."""
        return self.sql.messages(room)

    def _compare_made(self, what: str, shown: dict[str, Any], made: dict[str, Any]) -> None:
        content, parts = made["content"], [_without_secrets(part) for part in parts_of(made)]
        if (shown.get("content") or "") != content:
            self.wrong(f"{what} reads {shown.get('content')!r}, in SQL {content!r}")
        elif parts_of({"content": "", **shown}) != parts:
            self.wrong(f"{what} consists of {shown.get('parts')}, in SQL of {parts}")

    def _compare_said(self, client: Client) -> None:
        """What is stored of its streams is what it has said, up to some piece."""
        for room in ROOMS:
            for message_id, (made, status, deleted) in self.sql.messages(room).items():
                said = client.said.get(message_id)
                if said is None or deleted or made["content"].startswith("edit "):
                    continue
                stored = _closed(made["content"], [_without_secrets(part) for part in parts_of(made)])
                at_least = len(said) if status == "complete" else 0
                could = [_closed(*Message(said[:n]).as_message) for n in range(at_least, len(said) + 1)]
                if stored not in could:
                    self.wrong(f"{client.name} said {said}; {message_id}, {status}, is {made} in SQL")


def _without_secrets(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "provider_metadata"}


def _closed(content: str, parts: list[Part]) -> tuple[str, list[Part]]:
    """Without a text part that was opened and has no text yet."""
    if parts and parts[-1]["type"] == "text" and not parts[-1]["text"]:
        return content.removesuffix("\n\n"), parts[:-1]
    return content, parts

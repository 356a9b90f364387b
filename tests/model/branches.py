"""A world of questions in which people ask again, say otherwise what they have said, and go back: what
everybody is shown is the path to the session's head. In one of its sessions nodes write the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

from events.agents.base import Agent, Request
from events.agents.deltas import Delta, NextStep, Waits
from storage.agents import Agents
from tests.model.client import Client, Gone, Refused, View
from tests.model.node import Node
from tests.model.sql import SimulatedDatabase
from tests.model.turns import ACTIONS, WHEN_BUSY, Answer, Person, Turn, TurnsNode, TurnsWorld
from tests.model.verdict import ROOMS
from tests.model.world import World


class Asker(Agent):
    """Writes some pieces; takes up what steers it; asks people, and goes on with what they say."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        rng, asked = self._world.rng, len(request.resume.interrupts) if request.resume is not None else 0
        if asked:
            yield NextStep()
        for number in range(rng.randint(0, 5)):
            yield f"piece {asked}.{number} "
            await asyncio.sleep(rng.choice((0, 0.01, 0.3, 2)))
            if request.steering and rng.random() < 0.7:
                steered = tuple(request.steering)
                request.steering.clear()
                yield NextStep(steered)
        if asked < 3 and rng.random() < 0.4:
            ids = range(asked, asked + rng.choice((1, 2)))
            yield Waits(tuple({"id": f"i{number}", "reason": "choice"} for number in ids))


class BranchesNode(TurnsNode):
    def _build(self) -> None:
        super()._build()
        self._built.answers.kinds["asker"] = Asker(self.world)  # type: ignore[index]


class Stored(NamedTuple):
    """A message's place: `parent` is 0 for the first one."""

    message_id: str
    seq: int
    parent: int
    sender_id: str


class Path:
    """What a page that knows branches shows (docs/turns.md), by its messages' ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        #: Whether it has to ask for it, and asks; up to which number it knows of all messages.
        self.is_due = self.asks = False
        self.last = 0

    def put(self, told: dict[str, Any]) -> None:
        message_id, parent = told["message_id"], told.get("parent_id")
        if told["seq"] <= self.last:  # an answer that has waited, on another branch; or it is told late
            self.is_due = True
            return
        self.last = told["seq"]
        if "parent_id" not in told:  # there are no branches
            self.ids.append(message_id)
        elif parent is None:
            self.ids = [message_id]
        elif parent in self.ids:
            self.ids = [*self.ids[: self.ids.index(parent) + 1], message_id]
        else:
            self.is_due = True


class Reader(Person):
    """`paths` of the sessions that it wants to be in."""

    world: "BranchesWorld"

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.paths: dict[str, Path] = {}

    def snapshot(self, room: str, view: View, reply: dict[str, Any]) -> None:
        brought = view.revision
        super().snapshot(room, view, reply)
        if self.views.get(room) is not view:
            return
        path = self.paths[room] = Path()
        path.last = reply["last_seq"]
        if "head_id" not in reply:
            path.ids = sorted(view.messages, key=lambda message_id: int(view.messages[message_id]["seq"]))
        elif brought and not reply.get("reset"):
            self._ask(room, path)
        else:
            path.ids = [message["message_id"] for message in reply["messages"]]

    def event(self, name: str, told: dict[str, Any]) -> None:
        room = told.get("session_id", "")
        view, path = self.views.get(room), self.paths.get(room)
        is_known = view is not None and told.get("message_id") in view.messages
        super().event(name, told)
        if view is None or not view.joined or path is None:
            return
        if name in ("message", "stream_start") and not is_known:
            path.put(told)
        if path.is_due or (name == "session" and told["event"] == "head"):
            self._ask(room, path)

    def _ask(self, room: str, path: Path) -> None:
        path.is_due = True
        if not path.asks:
            path.asks = True
            self.world.spawn(self._look(room, path))

    async def _look(self, room: str, path: Path) -> None:
        while path.is_due and self.paths.get(room) is path:
            path.is_due = False
            reply = await self.insist("history", session_id=room, limit=500)
            if reply is None:
                break
            path.ids = [message["message_id"] for message in reply["messages"]]
            self._learn(room, reply["messages"])
            path.is_due = path.is_due or path.last > reply["last_seq"]
            path.last = max(path.last, reply["last_seq"])
        path.asks = False

    def _learn(self, room: str, messages: list[dict[str, Any]]) -> None:
        """Of a branch that it was never told of."""
        view = self.views.get(room)
        for message in messages if view is not None else ():
            view.messages.setdefault(message["message_id"], message)

    # --- what it does

    async def regenerate(self, turn: Turn, message_id: str, when_busy: str) -> None:
        with suppress(Gone, Refused):
            where = {"session_id": turn.session_id, "message_id": message_id}
            await self.call("regenerate", **where, when_busy=when_busy)

    async def say_otherwise(self, room: str, message_id: str, when_busy: str) -> None:
        self._numbers += 1
        key = f"{self.name}.{self._numbers}"
        version = {"session_id": room, "message_id": message_id, "content": f"text {key}", "branch": True}
        reply = await self.insist("edit", **version, client_message_id=key, when_busy=when_busy)
        if reply is not None:
            self.acked[key] = reply["message_id"]
            self.asked.append(reply["message_id"])


class BranchesWorld(TurnsWorld):
    actions_of = (*ACTIONS, ("regenerate", 4), ("say_otherwise", 3), ("select", 4))
    always = (*TurnsWorld.always, "regenerate")
    clients: list[Reader]  # type: ignore[assignment]

    def node_of(self, name: str) -> Node:
        return BranchesNode(self, name)

    def client_of(self, name: str) -> Client:
        return Reader(self, name)

    async def _make_sessions(self, people: tuple[str, ...]) -> None:
        await super()._make_sessions(people)
        agent = await Agents(SimulatedDatabase(self.sql)).create(name="Asker", kind="asker")
        where = "UPDATE chat_sessions SET agent_id = ? WHERE session_id = ?"
        await self.write(where, agent.id, ROOMS[1])

    # --- what happens

    def do_regenerate(self) -> None:
        turns = list(self.turns().values())
        if turns:
            turn = self.rng.choice(turns[-6:])
            named = self.rng.choice((turn.question_id, turn.answer_id or turn.question_id))
            for _ in range(self.rng.choice((1, 1, 1, 2))):
                self.spawn(self.rng.choice(self.clients).regenerate(turn, named, self.rng.choice(WHEN_BUSY)))

    def do_say_otherwise(self) -> None:
        client, room = self._someone()
        mine = [each for each in self.stored(room).values() if each.sender_id == client.name]
        if mine:
            message_id = self.rng.choice(mine[-4:]).message_id
            self.spawn(client.say_otherwise(room, message_id, self.rng.choice(WHEN_BUSY)))

    def do_select(self) -> None:
        client, room = self._someone()
        stored = list(self.stored(room).values())
        if stored:
            message_id = self.rng.choice(stored).message_id
            exact = self.chance(0.4)
            self.spawn(client.say("select", session_id=room, message_id=message_id, exact=exact))

    # --- what is stored

    def stored(self, room: str) -> dict[int, Stored]:
        """By their numbers."""
        rows = self.sql.raw.execute(
            "SELECT message_id, seq, COALESCE(parent_seq, seq - 1), sender_id FROM chat_messages"
            " WHERE session_id = ? ORDER BY seq",
            (room,),
        )
        return {row[1]: Stored(*row) for row in rows}

    def head(self, room: str) -> int:
        row = self.sql.raw.execute(
            "SELECT COALESCE(head_seq, last_seq) FROM chat_sessions WHERE session_id = ?", (room,)
        ).fetchone()
        return int(row[0])

    def path(self, room: str, end: int) -> list[str]:
        stored, found = self.stored(room), []
        while end:
            found.append(stored[end].message_id)
            end = stored[end].parent
        return found[::-1]

    # --- the verdict

    def _shown_to(self, room: str, view: Any) -> dict[str, tuple[dict[str, Any], str, bool]]:
        """Of other branches a page knows what it was told since it came."""
        path, stored = self.path(room, self.head(room)), super()._shown_to(room, view)
        return {id: stored[id] for id in stored if id in view.messages or id in path}

    def _verdict(self) -> None:
        super()._verdict()
        for room in ROOMS:
            expected = self.path(room, self.head(room))
            for client in self.clients:
                if room not in client.views or not client.views[room].joined:
                    continue  # who has not come back is found above
                if client.paths[room].ids != expected:
                    self.wrong(f"{client.name} is shown {client.paths[room].ids} of {room}: it is {expected}")
        answers = self.answers()
        for turn in self.turns().values():
            answer = answers.get(turn.answer_id or "")
            if answer is not None:
                self._check_branch(turn, answer)

    def _check_branch(self, turn: Turn, answer: Answer) -> None:
        """An answer is behind its question. Who reads one of two that it answers can read the other."""
        places = {each.message_id: seq for seq, each in self.stored(turn.session_id).items()}
        if answer.reply_to == turn.question_id:
            if turn.question_id not in self.path(turn.session_id, answer.seq):
                self.wrong(f"{answer} is on another branch than {turn}")
        elif not self._are_on_one(turn.session_id, turn.seq, places[answer.reply_to]):
            self.wrong(f"{turn} was taken up by {answer}, on another branch")

    def _are_on_one(self, room: str, one: int, other: int) -> bool:
        last = max(one, other)
        return self.stored(room)[min(one, other)].message_id in self.path(room, last)

"""Presence in Redis: what each node says of itself, held by the node's lease. Knows no event."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from storage.errors import StorageUnavailable
from storage.interfaces import Beat, Changed, News, Presences, Vouch
from storage.nodekey import NodeKey
from storage.redis.client import RedisClient
from storage.redis.link import Argument

log = logging.getLogger("parley.redis")

#: Rooms of a dead node that one heartbeat takes over: its script must not keep Redis from the others.
ROOMS_AT_ONCE = 500
#: Rooms that one script looks at, for the same reason: some 5 µs each.
LOOKED_AT_ONCE = 200
#: Rooms that are said anew before any answer is waited for.
SAID_AT_ONCE = 500
#: Seconds for which it is known that a node has said goodbye: longer than any other needs to find it gone.
GONE = 3600
#: Parts of NODE_LEASE: how long a lease lasts, and how often it is renewed. A dead node is noticed within a
#: lease and two beats.
LEASE, BEAT = 0.5, 0.2


class RedisPresence:
    """`storage.interfaces.PresenceStore`. `lease` is NODE_LEASE in seconds; `address` where other nodes
    reach this one; `kept` in seconds: how long somebody may have heard nothing and ask what has changed."""

    def __init__(
        self,
        client: RedisClient,
        node: str,
        key: NodeKey,
        *,
        lease: float,
        kept: float,
        address: str,
        vouch: Vouch,
    ) -> None:
        self._client, self._node, self._address, self._key = client, node, address, key
        self._kept = max(1, round(kept))
        # Longer than its lease by what the first beat after a hitch may be late.
        self._registered = lease * 2
        self._lease = max(1, round(lease * LEASE * 1000))
        # A room's users outlive many heartbeats; each renews them.
        self._ttl = max(60, round(lease * 10))
        prefix = client.prefix
        self._nodes, self._node_key, self._rooms_key = (
            f"{prefix}:nodes",
            f"{prefix}:lease-of:",
            f"{prefix}:rooms-of:",
        )
        self._users_key = f"{prefix}:presence:"
        self._left_key = f"{prefix}:left:"
        self._enter, self._leave = client.script("enter", "left"), client.script("leave", "left")
        self._online, self._beat = client.script("online"), client.script("beat")
        self._bury, self._look = client.script("bury", "left"), client.script("look", "left")
        self._changed = client.script("changed")
        self._told: dict[str, dict[str, tuple[str, int]]] = {}  # what Redis has of this node
        self._lapsed: set[str] = set()  # nodes that had no lease at the last beat
        self._found: dict[str, str] = {}  # room -> digest of what the last look found
        self._touched: set[str] = set()  # rooms of which something was said since a look was sent
        self._doubtful = True  # something may have been lost: say all again
        self._connection = ""  # the one over which it was said
        self.vouch = vouch

    # --- PresenceStore

    async def enter(self, room: str, user: str, status: str) -> bool:
        """Raises StorageUnavailable."""
        count = self._told.get(room, {}).get(user, ("", 0))[1]
        return bool(await self._answer(self._put(room, {user: (status, count)}, "")))

    async def leave(self, room: str, user: str) -> bool:
        """Raises StorageUnavailable."""
        users = self._told.get(room, {})
        users.pop(user, None)
        self._touched.add(room)
        try:
            gone = await self._client.run_script(
                self._leave, (self._users_key + room, self._left_key + room), self._node, user, self._kept
            )
        except StorageUnavailable:
            self._doubtful = True
            raise
        return bool(gone)

    async def online(self, room: str) -> Presences:
        """Raises StorageUnavailable."""
        found = await self._client.run_script(
            self._online, (self._users_key + room,), self._node, self._node_key
        )
        return {_words(found[i]): (_words(found[i + 1]), found[i + 2]) for i in range(0, len(found), 3)}

    async def changed(self, room: str, listed: int) -> Changed | int:
        """Raises StorageUnavailable."""
        found = await self._client.run_script(
            self._changed, (self._users_key + room, self._left_key + room), self._node, self._node_key,
            self._kept, listed,
        )  # fmt: skip
        if isinstance(found, int):
            return found
        rows = range(0, len(found), 4)
        return {_words(found[i]): (_words(found[i + 1]), found[i + 2], News(found[i + 3])) for i in rows}

    def at_hand(self, room: str) -> None:
        """Other nodes' users are in Redis alone."""

    # --- the heartbeat

    async def beat(self, counts: Mapping[str, Presences], *, doubtful: bool = False) -> Beat:
        """Raises StorageUnavailable."""
        self._doubtful = self._doubtful or doubtful or self._connection != self._client.connection
        try:
            return await self._beat_once(counts)
        except StorageUnavailable:
            self._doubtful = True
            raise

    async def _beat_once(self, counts: Mapping[str, Presences]) -> Beat:
        connection = self._client.connection
        registration = self._key.register(self._node, self._address, self._registered)
        had, announced, lapsed, buried, fading = await self._client.run_script(
            self._beat, (self._nodes, self._rooms_key + self._node), self._node, registration, self._lease,
            self._node_key, self._lease // 2,
        )  # fmt: skip
        if self._doubtful or not had:
            self._doubtful, self._connection = False, connection
            new = await self._say_all(counts)
            joined = new if announced else []  # others were told that they had left
        else:
            await self._say_changes(counts)
            joined = []
        left = await self._take_over(list(map(_words, lapsed)), list(map(_words, fading)))
        return Beat(left, joined, buried.decode())

    async def goodbye(self) -> None:
        """Raises StorageUnavailable."""
        await self._client.call("SET", f"{self._node_key}{self._node}:done", "1", "EX", GONE)

    async def _say_all(self, counts: Mapping[str, Presences]) -> list[tuple[str, str, str]]:
        """All of it, and nothing else: what was said while Redis was away may not have come through, and what
        was taken back may be there again. Answers those whom no node had: (room, user, status)."""
        said = await self._client.call("SMEMBERS", self._rooms_key + self._node)
        rooms = [*{*self._told, *counts, *map(_words, said)}]
        joined: list[tuple[str, str, str]] = []
        for start in range(0, len(rooms), SAID_AT_ONCE):
            sent = []
            for room in rooms[start : start + SAID_AT_ONCE]:
                users = counts.get(room, {})
                self._told[room] = {}
                sent.append((room, users, self._put(room, users, "all")))
                if not users:
                    del self._told[room]
            for room, users, answer in sent:
                joined += [(room, user, users[user][0]) for user in await self._answer(answer)]
        return joined

    async def _say_changes(self, counts: Mapping[str, Presences]) -> None:
        sent = []
        for room, users in counts.items():
            known = self._told.get(room, {})
            changed = {user: here for user, here in users.items() if known.get(user) != here}
            if changed:
                sent.append(self._put(room, changed, ""))
        for room in [r for r in self._told if not self._told[r] and r not in counts]:
            del self._told[room]
            sent.append(self._put(room, {}, "all"))
        for answer in sent:
            await self._answer(answer)

    async def _take_over(self, lapsed: Sequence[str], fading: Sequence[str]) -> list[tuple[str, str]]:
        """What dead nodes left behind. A lease that is missing once may be a key that was lost, and its node
        renews it with its next beat; a node that somebody vouches for keeps it, without a moment in which its
        users are not there. That one renews its lease when a fifth of NODE_LEASE has gone: no other fades."""
        before, self._lapsed = self._lapsed, set(lapsed)
        if not lapsed and not fading:
            return []
        alive = await self.vouch([*lapsed, *fading])
        for node in alive:
            key = self._node_key + node
            if node in self._lapsed:
                self._client.call("SET", key, "", "PX", self._lease, "NX")
            else:
                self._client.call("PEXPIRE", key, self._lease)
        self._lapsed -= {*alive}
        dead = [node for node in lapsed if node in before and node not in alive]
        if not dead:
            return []
        left = await self._client.run_script(
            self._bury, (self._nodes,), self._node_key, self._rooms_key, self._users_key, self._left_key,
            self._kept, ROOMS_AT_ONCE, *dead,
        )  # fmt: skip
        return [(_words(left[i]), _words(left[i + 1])) for i in range(0, len(left), 2)]

    def _put(self, room: str, users: Presences, mode: str) -> "asyncio.Future[Any]":
        """Sent in this turn: what is said of a room later is later there, too."""
        self._touched.add(room)
        words: list[Argument] = []
        for user, (status, count) in users.items():
            words += (user, status, count)
        if users:
            known = self._told.setdefault(room, {})
            known.update({user: (status, count or 1) for user, (status, count) in users.items()})
        return self._client.run_script(
            self._enter,
            (self._users_key + room, self._rooms_key + self._node, self._node_key + self._node, self._nodes,
                self._left_key + room),
            self._node, room, self._ttl, mode, self._lease, self._kept, *words,
        )  # fmt: skip

    async def _answer(self, sent: "asyncio.Future[Any]") -> Sequence[str]:
        try:
            return list(map(_words, await sent))
        except StorageUnavailable:
            self._doubtful = True
            raise

    # --- what Redis has

    async def look(
        self, rooms: Collection[str], again: Collection[str], listed: int
    ) -> Mapping[str, Presences | int]:
        """Raises StorageUnavailable. What it has of this node, and should not or lacks, is said anew."""
        self._found = {room: self._found.get(room, "") for room in rooms}
        self._found.update(dict.fromkeys(again, ""))
        names, differing = list(self._found), {}
        try:
            for start in range(0, len(names), LOOKED_AT_ONCE):
                differing.update(await self._look_at(names[start : start + LOOKED_AT_ONCE], listed))
        except StorageUnavailable:
            self._found.clear()  # nobody was told what was found
            raise
        return differing

    async def _look_at(self, rooms: Sequence[str], listed: int) -> dict[str, Presences | int]:
        words: list[Argument] = []
        for room in rooms:
            words += (room, self._found[room])
        self._touched.clear()
        rows = await self._client.run_script(
            self._look, (self._nodes, self._rooms_key + self._node), self._node, self._node_key,
            self._users_key, self._ttl, listed, self._left_key, self._kept, *words,
        )  # fmt: skip
        differing: dict[str, Presences | int] = {}
        for row in rows:
            room, count = _words(row[0]), row[2]
            self._found[room] = _words(row[1])
            if count > listed:
                differing[room] = count
                continue
            users = {_words(row[i]): (_words(row[i + 1]), row[i + 2]) for i in range(3, len(row), 4)}
            differing[room] = users
            mine = {_words(row[i]): _words(row[i + 3]) for i in range(3, len(row), 4) if row[i + 3]}
            said = self._told.get(room, {})
            if room not in self._touched and mine != {user: status for user, (status, _) in said.items()}:
                await self._answer(self._put(room, said, "all"))
        return differing

    # --- where nodes are

    async def address(self, node: str) -> str | None:
        """Where a live node said that it can be reached; None for what no node with our key said. Raises
        StorageUnavailable."""
        found: bytes | None = await self._client.call("GET", self._node_key + node)
        if not found or found == b"-":  # its first heartbeat is still to come
            return None
        address = self._key.registered(node, found.decode(errors="replace"))
        if address is None:
            log.warning("the address of %s in Redis was not registered by a node with this SECRET_KEY", node)
        return address


def _words(said: bytes) -> str:
    """What a node said, or anything: whoever may write here stops nobody's heartbeat."""
    return said.decode(errors="replace")

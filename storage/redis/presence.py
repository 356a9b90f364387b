"""Presence in Redis: what each node says of itself, held by the node's lease. Knows no event."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.errors import Unavailable
from storage.interfaces import Beat
from storage.redis.client import Client
from storage.redis.link import Argument

#: Rooms of a dead node that one heartbeat takes over: its script must not keep Redis from the others.
ROOMS_AT_ONCE = 500
#: A lease lasts so much of NODE_LEASE, and is renewed every `BEAT` of it: with both a dead node is
#: noticed within it.
LEASE, BEAT = 0.6, 0.2

_Users = Mapping[str, tuple[str, int]]


class RedisPresence:
    """`storage.interfaces.PresenceStore`. `lease` is NODE_LEASE in seconds; `address` where other nodes
    reach this one."""

    def __init__(self, client: Client, node: str, *, lease: float, address: str = "") -> None:
        self._client, self._node, self._address = client, node, address
        self._lease = max(1, round(lease * LEASE * 1000))
        # A room's users outlive many heartbeats; each renews them.
        self._ttl = max(60, round(lease * 10))
        prefix = client.prefix
        self._nodes, self._node_key, self._rooms_key = (
            f"{prefix}:nodes",
            f"{prefix}:lease-of:",
            f"{prefix}:rooms-of:",
        )
        self._users_key, self._typing_key = f"{prefix}:presence:", f"{prefix}:typing-of:"
        self._enter, self._leave = client.script("enter"), client.script("leave")
        self._online, self._beat = client.script("online"), client.script("beat")
        self._told: dict[str, dict[str, tuple[str, int]]] = {}  # what Redis has of this node
        self._doubtful = True  # something may have been lost: say all again

    # --- PresenceStore

    async def enter(self, room: str, user: str, status: str) -> bool:
        """Raises Unavailable."""
        count = self._told.get(room, {}).get(user, ("", 0))[1]
        new = await self._put(room, {user: (status, count)}, "")
        return bool(new)

    async def leave(self, room: str, user: str) -> bool:
        """Raises Unavailable."""
        users = self._told.get(room, {})
        users.pop(user, None)
        try:
            gone = await self._client.run_script(self._leave, (self._users_key + room,), self._node, user)
        except Unavailable:
            self._doubtful = True
            raise
        return bool(gone)

    async def online(self, room: str) -> Mapping[str, tuple[str, int]]:
        """Raises Unavailable."""
        found = await self._client.run_script(
            self._online, (self._users_key + room,), self._node, self._node_key
        )
        return {found[i].decode(): (found[i + 1].decode(), found[i + 2]) for i in range(0, len(found), 3)}

    def at_hand(self, room: str) -> None:
        """Other nodes' users are in Redis alone."""

    async def beat(self, counts: Mapping[str, _Users]) -> Beat:
        """Raises Unavailable."""
        try:
            return await self._beat_once(counts)
        except Unavailable:
            self._doubtful = True
            raise

    async def _beat_once(self, counts: Mapping[str, _Users]) -> Beat:
        had, announced, left, typing = await self._client.run_script(
            self._beat, (self._nodes,), self._node, self._address, self._lease, self._node_key,
            self._rooms_key, self._users_key, self._typing_key, ROOMS_AT_ONCE,
        )  # fmt: skip
        again = self._doubtful or not had
        joined: list[tuple[str, str, str]] = []
        if again:
            # All of it, and nothing else: what was said while Redis was away may not have come through.
            self._doubtful = False
            for room in {*self._told, *counts}:
                users = counts.get(room, {})
                new = await self._put(room, users, "all")
                if announced:  # others were told that they had left
                    joined += [(room, user, users[user][0]) for user in new]
            self._told = {room: dict(users) for room, users in counts.items() if users}
        else:
            for room, users in counts.items():
                known = self._told.get(room, {})
                changed = {user: here for user, here in users.items() if known.get(user) != here}
                if changed:
                    await self._put(room, changed, "")
                else:
                    self._client.call("EXPIRE", self._users_key + room, self._ttl)
            for room in [r for r in self._told if r not in counts]:
                if not self._told[room]:
                    del self._told[room]
                    await self._put(room, {}, "all")
        pairs = [(left[i].decode(), left[i + 1].decode()) for i in range(0, len(left), 2)]
        stopped = [tuple(field.decode().split("\0", 1)) for field in typing]
        return Beat(pairs, [(room, user) for room, user in stopped], joined)

    async def _put(self, room: str, users: _Users, mode: str) -> Sequence[str]:
        words: list[Argument] = []
        for user, (status, count) in users.items():
            words += (user, status, count)
        if users:
            known = self._told.setdefault(room, {})
            known.update({user: (status, count or 1) for user, (status, count) in users.items()})
        try:
            new = await self._client.run_script(
                self._enter, (self._users_key + room, self._rooms_key + self._node), self._node, room,
                self._ttl, mode, *words,
            )  # fmt: skip
        except Unavailable:
            self._doubtful = True
            raise
        return [user.decode() for user in new]

    async def typing(self, room: str, user: str, until: float | None) -> bool:
        """Raises Unavailable."""
        key, field = self._typing_key + self._node, f"{room}\0{user}"
        if until is None:
            return bool(await self._client.call("HDEL", key, field))
        added: Any = self._client.call("HSET", key, field, round(until, 3))
        self._client.call("EXPIRE", key, self._ttl)
        return bool(await added)

    # --- where nodes are

    async def address(self, node: str) -> str | None:
        """Where a live node said that it can be reached. Raises Unavailable."""
        found = await self._client.call("GET", self._node_key + node)
        return bytes(found).decode() if found else None

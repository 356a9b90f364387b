"""Faults at the very moment that a rule is for: schedules without that rule meet it often (`rules.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import permutations
from typing import TYPE_CHECKING

from tests.model.redis import Data

if TYPE_CHECKING:
    from tests.model.client import Client
    from tests.model.world import World

#: More than a room's log keeps (`node.SETTINGS`), in writes of one client.
MUCH = 60
#: Seconds that a client's join may take here.
JOIN = 2.0
#: Seconds that a packet takes that is sent a second time.
LATE = 0.05


def _there(world: "World") -> "list[Client]":
    """Who shows a session, and is connected."""
    return [c for c in world.clients if c.socket is not None and any(v.joined for v in c.views.values())]


def _a_room_of(world: "World", client: "Client") -> str:
    return world.rng.choice([room for room, view in client.views.items() if view.joined])


def _newest(client: "Client", room: str) -> int:
    return max((message.get("seq", 0) for message in client.views[room].messages.values()), default=0)


async def _while_it_is_done(world: "World") -> None:
    """Until some moment of a command that is being carried out: up to a dozen statements and answers."""
    await asyncio.sleep(sum(world.latency() for _ in range(world.rng.randint(0, 12))))


async def die_while_writing(world: "World") -> None:
    """The node of somebody who writes is killed, before or after its commit; nobody writes after that."""
    for writer in _there(world)[:1]:
        assert writer.socket is not None
        node = writer.socket.node
        world.spawn(writer.write(_a_room_of(world, writer)))
        await _while_it_is_done(world)
        world.kill(node)
        world.actions = 0


async def blink(world: "World") -> None:
    """Redis is away for a moment in which somebody writes; then somebody's connection breaks."""
    world.do_redis_down()
    world.do_write()
    await asyncio.sleep(world.rng.choice((0.7, 1.5)))
    world.do_redis_recover()
    await asyncio.sleep(world.rng.choice((0, 0.1, 0.5, 2)))
    world.do_drop()


async def blink_while_streaming(world: "World") -> None:
    """The same in which somebody's answer goes on."""
    world.do_produce()
    await asyncio.sleep(world.rng.choice((0.05, 0.2, 0.5)))
    world.do_redis_down()
    await asyncio.sleep(world.rng.choice((0.1, 0.5)))
    world.do_redis_recover()


async def write_at_once(world: "World") -> None:
    """Two write in one session on two nodes, and the way of one to Redis is slow: what the other one wrote
    later is logged first. That one's connection breaks before it hears anything."""
    for first, second in permutations(_there(world), 2):
        room = _a_room_of(world, first)
        assert first.socket is not None and second.socket is not None
        process = first.socket.node.process
        if second.socket.node.process is process or room not in second.views:
            continue
        slow = [wire for wire in world.redis.wires if not wire.channels and wire._owner is process]
        for wire in slow:
            wire.late = LATE
        world.spawn(first.write(room))
        await _while_it_is_done(world)
        world.spawn(second.write(room))
        await _while_it_is_done(world)
        if second.socket is not None:
            second.socket.hang_up("clean")
        await asyncio.sleep(2 * LATE)
        for wire in slow:
            wire.late = 0.0
        return


async def miss_much(world: "World") -> None:
    """Somebody's connection breaks, and the log goes on beyond what it keeps."""
    there = _there(world)
    if len(there) > 1:
        away, writer = world.rng.sample(there, 2)
        assert away.socket is not None
        room = _a_room_of(world, writer)
        away.socket.hang_up(world.rng.choice(("clean", "half-open")))
        for _ in range(MUCH):
            world.spawn(writer.write(room))
        await asyncio.sleep(2)


async def cut_while_joining(world: "World") -> None:
    """Somebody joins while others write, and its connection breaks as soon as it has the reply."""
    for client in world.rng.sample(_there(world), 1) if _there(world) else ():
        room = _a_room_of(world, client)
        client.leave(room)
        await _while_it_is_done(world)
        for writer in _there(world):
            if writer is not client and room in writer.views:
                for _ in range(5):
                    world.spawn(writer.write(room))
        await _while_it_is_done(world)
        joining = world.spawn(client.join(room))
        await asyncio.wait([joining], timeout=JOIN)
        await asyncio.sleep(world.latency())
        if client.socket is not None:
            client.socket.hang_up("clean")


async def read_while_joining(world: "World") -> None:
    """Somebody joins while another one, on another node, has read something, and the way of the subscriptions
    is slow: no revision tells of it. Nothing happens after that, which would show that it is missing."""
    for joiner, reader in permutations(_there(world), 2):
        assert joiner.socket is not None and reader.socket is not None
        process = joiner.socket.node.process
        if reader.socket.node.process is process:
            continue
        slow = [wire for wire in world.redis.wires if wire.channels and wire._owner is process]
        room = _a_room_of(world, reader)
        joiner.leave(room)
        written = world.spawn(reader.write(room))
        await asyncio.wait([written], timeout=JOIN)
        for wire in slow:
            wire.late = LATE
        joining = world.spawn(joiner.join(room))
        await _while_it_is_done(world)
        world.spawn(reader.say("read", session_id=room, seq=_newest(reader, room)))
        await asyncio.wait([joining], timeout=JOIN)
        for wire in slow:
            wire.late = 0.0
        world.actions = 0
        return


async def lose_mark(world: "World") -> None:
    """Somebody reads while another one's node does not hear Redis, which then loses all. Nothing happens
    after that, which would tell of the mark, too."""
    for hearer, reader in permutations(_there(world), 2):
        assert hearer.socket is not None and reader.socket is not None
        process = hearer.socket.node.process
        if reader.socket.node.process is process:
            continue
        world.redis.cut_off.add(process)
        room = _a_room_of(world, reader)
        world.spawn(reader.say("read", session_id=room, seq=_newest(reader, room)))
        await asyncio.sleep(world.rng.choice((0.02, 0.1, 0.5)))
        world.note("Redis is emptied")
        world.redis.goes_back(Data())
        world.do_rejoin()
        world.actions = 0
        return


STEERED: Mapping[str, Callable[["World"], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        die_while_writing,
        blink,
        blink_while_streaming,
        write_at_once,
        miss_much,
        cut_while_joining,
        read_while_joining,
        lose_mark,
    )
}

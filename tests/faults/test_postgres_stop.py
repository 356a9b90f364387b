"""PostgreSQL goes away under load and comes back: commands wait for it, and are answered UNAVAILABLE where
that takes too long; no connection is dropped, no session is said not to exist, and everything works soon
after, through connections that lived through it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from storage.patience import WAIT
from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.refusals import refusal
from tests.support.server import Server
from tests.support.services import Postgres

BACK_WITHIN = 5.0
"""Seconds from the database's return to everything working."""


class Load:
    """One client that sends without end and keeps book."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.refused = 0
        self.acked: list[tuple[str, int]] = []
        self.last_ack = 0.0
        self.slowest = 0.0
        self.over = asyncio.Event()

    async def run(self) -> None:
        count = 0
        while not self.over.is_set():
            key = f"{self.door.kind}-{count}"
            began = time.monotonic()
            reply = await self.door.call("message", content=key, client_message_id=key)
            self.slowest = max(self.slowest, time.monotonic() - began)
            if reply["ok"]:
                self.acked.append((key, reply["seq"]))
                self.last_ack = time.monotonic()
                count += 1
            else:
                # The same key again: a commit whose answer was lost is told as a duplicate.
                assert reply["error"]["code"] == "UNAVAILABLE", reply
                assert reply["error"]["retryable"] is True
                self.refused += 1
                await asyncio.sleep(0.02)


async def outage(node: Server, away: Callable[[], object], back: Callable[[], object], seconds: float) -> str:
    session = await new_session(node, "alice")
    async with (
        enter("socketio", node, "alice", session) as first,
        enter("polling", node, "alice", session) as second,
        enter("websocket", node, "alice", session) as third,
        enter("rest", node, "alice", session) as fourth,
    ):
        loads = [Load(door) for door in (first, second, third, fourth)]
        async with asyncio.TaskGroup() as group:
            for load in loads:
                group.create_task(load.run())
            await third.wait_event("message", lambda m: m["seq"] >= 40)

            await asyncio.to_thread(away)
            down = time.monotonic()
            if seconds > WAIT:
                await _everything_is_unavailable(node, (first, third, fourth), session)
            await asyncio.sleep(max(0.0, down + seconds - time.monotonic()))  # the fault itself
            await asyncio.to_thread(back)
            up = time.monotonic()
            marks = [len(load.acked) for load in loads]
            while any(len(load.acked) < mark + 5 for load, mark in zip(loads, marks, strict=True)):
                assert time.monotonic() - up < BACK_WITHIN, [(load.door.kind, load.refused) for load in loads]
                await asyncio.sleep(0.02)
            again = time.monotonic() - up
            for load in loads:
                load.over.set()

        # Through the connections that lived through it: every event came, once, in order.
        last = max(seq for load in loads for _, seq in load.acked)
        for load in loads:
            await load.door.wait_event("message", lambda m: m["seq"] == last)
            seqs = [m["seq"] for m in load.door.named("message")]
            assert seqs == list(range(1, last + 1)), load.door.kind
        stored = await third.history(order="asc")
        acked = dict(pair for load in loads for pair in load.acked)
        keys = Counter(m["content"] for m in stored)
        assert not [key for key, count in keys.items() if count > 1]
        if len(stored) == last:
            assert not set(acked.items()) - {(m["content"], m["seq"]) for m in stored}
    refused = sum(load.refused for load in loads)
    if seconds < WAIT / 2:
        assert refused == 0
    slowest = max(load.slowest for load in loads)
    return (
        f"away {seconds:g} s: {len(acked)} acknowledged, 0 lost; {refused} UNAVAILABLE, slowest answer"
        f" {slowest:.2f} s; 0 of 4 connections dropped; working again after {again:.2f} s"
    )


async def _everything_is_unavailable(node: Server, doors: tuple[Door, ...], session: str) -> None:
    """Whatever needs the database says so: commands, REST, new connections."""

    async def refused(door: Door, command: str, **payload: Any) -> None:
        reply = await door.call(command, **payload)
        assert not reply["ok"]
        assert reply["error"]["code"] == "UNAVAILABLE", (door.kind, command, reply)
        assert reply["error"]["retry_after"] > 0

    async def kept_out(kind: str) -> None:
        found = await refusal(kind, node, node.token("alice"), session)
        told = ("UNAVAILABLE",) if kind in ("rest", "socketio") else ("UNAVAILABLE", None)
        assert found.code in told, (kind, found)
        assert found.closed in (None, 1013)
        assert found.http in (None, 503)

    async with node.api("alice") as api:
        asked = (
            api.post("/api/chat/sessions", json={}),
            api.get("/api/chat/sessions"),
            api.get("/readyz"),
        )
        answers, *_ = await asyncio.gather(
            asyncio.gather(*asked),
            *(kept_out(kind) for kind in KINDS),
            *(refused(door, "history") for door in doors),
            *(refused(door, "read", seq=1) for door in doors),
            *(refused(door, "delete", message_id="msg_x") for door in doors),
        )
        assert [answer.status_code for answer in answers] == [503] * 3
        assert (await api.get("/healthz")).status_code == 200


def _ways(cluster: Postgres, way: str) -> tuple[Callable[[], None], Callable[[], object]]:
    if way == "stopped":
        return cluster.stop, cluster.start
    if way == "killed":
        return cluster.kill9, cluster.start
    return cluster.pause, cluster.resume


async def test_postgres_stopped(
    own_postgres: tuple[Postgres, str], new_server: Callable[..., Server]
) -> None:
    cluster, url = own_postgres
    await outage(new_server(url), *_ways(cluster, "stopped"), seconds=1)


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["stopped", "killed", "hung"])
async def test_postgres_away_for_ten_seconds(
    own_postgres: tuple[Postgres, str],
    new_server: Callable[..., Server],
    row: Callable[[str], None],
    way: str,
) -> None:
    cluster, url = own_postgres
    row(await outage(new_server(url), *_ways(cluster, way), seconds=10))

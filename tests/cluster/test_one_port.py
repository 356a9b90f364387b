"""`serve --workers 2`: two nodes on one port, started, watched and ended together."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from copy import copy
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from websockets.asyncio.client import connect

from events.bounds import UPLOADING, UPLOADING_EACH, UPLOADING_LAST
from server.doctor.examine import TRIES
from server.doctor.wire import Polling, Target
from tests.cluster.conftest import SHORT
from tests.files.test_underway import SIZE, fill
from tests.support.certificate import self_signed
from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.processes import free_port, listening, wait_until
from tests.support.server import Server
from tests.support.services import Postgres, Redis


class House(Server):
    """A server of two workers. Their own ports follow the common one."""

    arguments = ("--workers", "2")

    def __init__(self, folder: Path, database_url: str, redis: Redis, **settings: str) -> None:
        super().__init__(
            folder, database_url, **{**SHORT, "REDIS_URL": redis.url, "MAX_FILE_SIZE": str(SIZE), **settings}
        )
        while listening(self.port + 1) or listening(self.port + 2):
            self.port = free_port()
        self.env["SERVICE_PORT"] = str(self.port)

    def healthy(self) -> bool:
        return self.log.exists() and '"event": "ready"' in self.log_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_text().splitlines()]

    def nodes(self) -> list[str]:
        """The letters with which the sids of each worker begin, as `ready` told them."""
        (ready,) = [line for line in self.lines() if line["event"] == "ready"]
        return [re.sub("^node_| at .*$", "", each) for each in ready["workers"]]

    def worker(self, number: int) -> psutil.Process:
        for child in psutil.Process(self.pid).children():
            ports = {each.laddr.port for each in child.net_connections() if each.status == "LISTEN"}
            if self.port + number in ports:
                return child
        raise AssertionError(f"worker {number} does not listen")

    async def counted(self, number: int, family: str) -> float:
        """The sum of a metric at a worker's own port."""
        async with self.api(None) as api:
            api.base_url = f"http://127.0.0.1:{self.port + number}"  # type: ignore[assignment]
            text = (await api.get("/metrics")).text
        return sum(s.value for f in parse(text) for s in f.samples if s.name == family)


@pytest.fixture(scope="module")
def house(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    name = postgres.create_database(postgres_template)
    with Redis() as redis, House(tmp_path_factory.mktemp("house"), postgres.url(name), redis) as house:
        yield house
    postgres.drop_database(name)


async def test_both_serve_and_each_counts_for_itself(house: House) -> None:
    assert len(set(house.nodes())) == 2
    session = await new_session(house)
    async with AsyncExitStack() as stack:
        alices = [
            await stack.enter_async_context(enter("websocket", house, "alice", session)) for _ in range(16)
        ]
        connected = [await house.counted(number, "parley_connections") for number in (1, 2)]
        assert sum(connected) == 16 and min(connected) > 0  # all on one: once in 32,768 runs
        for n, each in enumerate(alices):
            await each.message(f"m{n}", reply=False)
        for each in alices:
            await each.wait_event("message", lambda m: m["content"] == "m15")
            assert sorted(m["content"] for m in each.named("message")) == sorted(f"m{n}" for n in range(16))
    async with house.api(None) as api:
        answer = await api.get("/metrics")
    assert answer.status_code == 404 and "port of its own" in answer.json()["error"]["message"]


async def answered(polling: Polling, ack: str) -> None:
    """Other events of the same user may come before it, and with it."""
    async with asyncio.timeout(10):
        while not any(
            packet.startswith(ack)
            for packet in (await polling.receive()).raise_for_status().text.split("\x1e")
        ):
            pass


async def test_polling_needs_no_stickiness(house: House) -> None:
    """Each request takes a connection of its own: any worker may get it."""
    token = house.token()
    target = Target(house.url, token)
    async with target.client() as client:
        for _ in range(2):
            polling = Polling(target, client)
            await polling.open()
            assert (await polling.send(f'40{{"token":"{token}"}}')).status_code == 200
            assert (await polling.receive()).text.startswith("40{")
            for n in range(TRIES):
                sent = await polling.send(f'42{n}["presence",{{"status":"online"}}]')
                assert (sent.status_code, sent.text) == (200, "ok")
                await answered(polling, f"43{n}[")


async def test_an_upgrade_may_come_to_the_other_worker(house: House) -> None:
    session, token = await new_session(house), house.token()
    target = Target(house.url, token)
    async with target.client() as client:
        polling = Polling(target, client)
        await polling.open()
        assert (await polling.send(f'40{{"token":"{token}"}}')).status_code == 200
        assert (await polling.receive()).text.startswith("40{")
        other = 2 - house.nodes().index(polling.sid[:16])
        before = await house.counted(other, "parley_connects_total")
        # Until one has landed there; each that lands at the owner is closed again.
        address = f"{house.ws_url}/socket.io/?EIO=4&transport=websocket&sid={polling.sid}"
        worker = psutil.Process(house.worker(other).pid)
        for _ in range(100):
            async with connect(address, proxy=None) as socket:
                mine = socket.local_address[1]
                if mine not in {each.raddr.port for each in worker.net_connections() if each.raddr}:
                    continue
                await socket.send("2probe")
                assert await socket.recv() == "3probe"
                await socket.send("5")
                await socket.send(f'420["join",{{"session_id":"{session}"}}]')
                async with asyncio.timeout(10):
                    while not str(said := await socket.recv()).startswith("430["):
                        pass
                assert '"ok":true' in said
                break
        else:
            raise AssertionError("no connection came to the other worker")
        assert await house.counted(other, "parley_connects_total") == before


async def test_a_worker_that_is_killed_in_mid_answer_is_started_again(house: House, js: JsClients) -> None:
    session = await new_session(house, agent_id=1)
    kinds = [["websocket"], ["polling"], ["polling", "websocket"]] * 3
    clients = await asyncio.gather(*(js.open(house.url, house.token(), transports=k) for k in kinds))
    for client in clients:
        assert (await client.emit("join", {"session_id": session}))["ok"]
    marks = [client.mark() for client in clients]
    asker = clients[0]
    question = {"session_id": session, "content": "a long way to go " * 12}
    assert (await asker.emit("message", question))["ok"]
    begun = await clients[1].wait_event("stream_chunk", since=marks[1])
    counts = [await house.counted(number, "parley_open_streams") for number in (1, 2)]
    number = 1 + counts.index(1.0)
    house.worker(number).kill()
    for client, mark in zip(clients, marks, strict=True):
        end = await client.wait_event("stream_end", since=mark, timeout=30)
        assert end["message_id"] == begun["message_id"]
        assert end["status"] in ("interrupted", "complete")
    said = {"session_id": session, "content": "after that", "reply": False}
    assert (await clients[-1].emit("message", said, timeout=20))["ok"]
    for client, mark in zip(clients, marks, strict=True):
        await client.wait_event("message", lambda m: m["content"] == "after that", since=mark, timeout=20)
        assert all(each["recovered"] for each in client.named("connect", mark))
    text = f"worker {number} serves again"
    assert house.process is not None
    await asyncio.to_thread(wait_until, lambda: text in house.log_text(), house.process, house.log)
    assert f"worker {number} (process " in house.log_text() and "killed by signal 9" in house.log_text()
    assert house.worker(number).is_running()
    async with house.api(None) as api:
        assert (await api.get("/readyz")).status_code == 200


async def test_all_are_drained_together(postgres_url: str, redis: Redis, tmp_path: Path) -> None:
    """With TLS on the common port, which their own do not have."""
    certificate, key = self_signed()
    (tmp_path / "crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    tls = {"WS_USE_SSL": "true", "SSL_CERTFILE": str(tmp_path / "crt"), "SSL_KEYFILE": str(tmp_path / "key")}
    with House(tmp_path / "house", postgres_url, redis, **tls) as house:
        workers = [house.worker(1), house.worker(2)]
        url = f"https://127.0.0.1:{house.port}"
        target = Target(url, house.token(), insecure=True)
        async with AsyncExitStack() as stack:
            polls = []
            for _ in range(4):
                client = await stack.enter_async_context(target.client())
                polling = Polling(target, client)
                await polling.open()
                assert (await polling.send(f'40{{"token":"{house.token()}"}}')).status_code == 200
                assert (await polling.receive()).text.startswith("40{")
                polls.append(asyncio.create_task(polling.receive()))
            status = await asyncio.to_thread(house.stop)
            for answer in await asyncio.gather(*polls, return_exceptions=True):
                assert isinstance(answer, httpx.Response | httpx.HTTPError)
        assert status == 0
        assert not any(each.is_running() for each in workers)
        assert [line["event"] for line in house.lines()].count("stopped") == 2
        assert "Traceback" not in house.log_text()


def test_workers_do_not_outlive_their_supervisor(postgres_url: str, redis: Redis, tmp_path: Path) -> None:
    with House(tmp_path / "house", postgres_url, redis) as house:
        workers = [house.worker(1), house.worker(2)]
        psutil.Process(house.pid).kill()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
        assert "the supervisor is gone" in house.log_text()


def test_what_it_needs_is_told_in_a_line_each(redis: Redis, tmp_path: Path) -> None:
    house = House(tmp_path / "house", "sqlite:///chat.db", redis, REDIS_URL="")
    house._spawn()
    assert house.process is not None
    assert house.process.wait(20) == 1
    one, two = house.log_text().splitlines()
    assert one.startswith("--workers 2 needs REDIS_URL") and two.startswith("--workers 2 needs PostgreSQL")


@pytest.mark.parametrize("what", ["no database", "common port"])
def test_a_worker_that_cannot_start_ends_all_with_its_reason(
    postgres_url: str, redis: Redis, tmp_path: Path, house: House, what: str
) -> None:
    node = House(tmp_path / "house", postgres_url, redis)
    if what == "no database":
        node.env["DATABASE_URL"] = "postgresql://127.0.0.1:9/chat"
    else:  # that of others, who would share it
        node.env["SERVICE_PORT"] = str(house.port)
    node._spawn()
    assert node.process is not None
    assert node.process.wait(20) == 3
    told = [line["event"] for line in node.lines() if line["level"] == "error"]
    assert "Traceback" not in node.log_text()
    wanted = {
        "no database": "the database cannot be reached",
        "common port": f"cannot listen on 127.0.0.1:{house.port}: address already in use",
    }
    assert told[0].startswith(wanted[what])
    assert told[1:] == (
        ["worker 1 ended with status 3 before it served: all stop"] if "database" in what else []
    )


def test_an_orderly_end_while_it_starts(postgres_url: str, redis: Redis, tmp_path: Path) -> None:
    house = House(tmp_path / "house", postgres_url, redis)
    house._spawn()
    assert house.process is not None
    wait_until(lambda: len(psutil.Process(house.pid).children()) > 0, house.process, house.log)
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(20) == 0


async def test_a_worker_has_its_part_of_what_is_uploaded_at_once(house: House) -> None:
    users = tuple(f"user-{number}" for number in range(UPLOADING // UPLOADING_EACH))
    room = await new_session(house, "alice", members=users)
    one = copy(house)
    one.port += 1
    async with AsyncExitStack() as stack:
        count = 0
        for user in users:
            count += len(await fill(one, room, user, stack, count))
    assert (UPLOADING - UPLOADING_LAST) // 2 <= count <= UPLOADING // 2

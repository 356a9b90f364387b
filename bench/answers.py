"""`python -m bench.answers`: answers that outlive a refresh, for pages with the AI SDK.

Parley's door at `/api/ai/chat` beside what such pages have today: the AI SDK's own stream in a Node server,
kept in Redis by `resumable-stream`. Each answer has two readers, the one who asked and one who came back.
Each side writes the answers itself, with a pause between two pieces; where a core is not enough, all of
them get slower. What counts is the server's CPU time for each piece; Redis is counted by itself. Then the
server is killed in mid-answer, and a second one is asked for that answer.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import uvloop

from bench import product
from bench.build import HERE, ROOT, build, node_env
from bench.contenders import PEERS, SECRET, Contender
from bench.measure import Cores
from bench.process import BenchError, Process, Watched, cpu_seconds, free_port, raise_file_limit
from tests.support.services import Redis

#: Characters of a piece, and seconds between two: 50 pieces a second.
PIECE, PAUSE = 5, 0.02
#: How text looks in a response, which may be of several pieces, and the end of a response that says so.
TEXT = re.compile(rb'"type":"text-delta","id":"text","delta":"([a-e]*)"')
LAST = b"\r\n0\r\n\r\n"
#: Answers that are asked for together.
AT_ONCE = 10
#: Seconds for all readers to be there.
PATIENCE = 60


@dataclass(frozen=True)
class Figures:
    """Of one run. Microseconds of CPU time for a piece, which both readers have. `frames_per_s`: in how many
    the pieces came; a server may tell several at once."""

    pieces_per_s: float
    frames_per_s: float
    server_us: float
    redis_us: float


class Reader(asyncio.Protocol):
    """A response that comes for as long as an answer is written."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.text = bytearray()
        loop = asyncio.get_running_loop()
        self.begun, self.closed, self.whole = (loop.create_future() for _ in range(3))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.text += data
        if not self.begun.done() and TEXT.search(self.text):
            _tell(self.begun)
        if self.text.endswith(LAST) or (not self.begun.done() and self.status == "204"):
            _tell(self.whole)

    def told(self, begin: int, end: int) -> tuple[int, int]:
        """Pieces and frames within these bytes."""
        texts = TEXT.findall(self.text, begin, end)
        return sum(map(len, texts)) // PIECE, len(texts)

    @property
    def status(self) -> str:
        return self.text.split(b" ", 2)[1].decode() if self.text else "none"

    def chunks(self) -> list[dict[str, Any]]:
        """What was told, a frame a line. Lengths of HTTP's chunks stand on lines of their own."""
        lines = self.text.decode(errors="replace").splitlines()
        told = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
        return [json.loads(line) for line in told if line.endswith("}")]

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.begun, self.closed, self.whole):
            _tell(future)


def _tell(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def reader(port: int, method: str, path: str, user: str, body: dict[str, Any] | None = None) -> Reader:
    payload = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.token(user)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Reader(head.encode() + payload), "127.0.0.1", port)
    return made


async def answered(port: int, name: str, seconds: float) -> tuple[Reader, Reader]:
    """The two readers of an answer that takes so long, when both have begun to read."""
    text = "abcde" * int(seconds / PAUSE)
    message = {"id": f"m-{name}", "role": "user", "parts": [{"type": "text", "text": text}]}
    asked = {"id": name, "messages": [message], "trigger": "submit-message", "agent_id": "1"}
    first = await reader(port, "POST", "/api/ai/chat", name, asked)
    await first.begun
    while True:
        second = await reader(port, "GET", f"/api/ai/chat/{name}/stream", name)
        await asyncio.wait((second.begun, second.whole), return_when=asyncio.FIRST_COMPLETED)
        if second.status != "204":  # it is not known yet that there is one
            return first, second
        second.transport.abort()
        await asyncio.sleep(PAUSE)


async def load(port: int, server: Watched, redis_pid: int, answers: int, seconds: float) -> Figures:
    """`seconds` of all answers, read by all. Raises BenchError where one of them ends early."""
    some = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> tuple[Reader, Reader]:
        async with some:
            return await answered(port, f"chat-{number}", seconds + PATIENCE)

    async with asyncio.timeout(PATIENCE):
        pairs = await asyncio.gather(*map(one, range(answers)), return_exceptions=True)
    readers = [one for pair in pairs if isinstance(pair, tuple) for one in pair]
    if len(readers) < 2 * answers:
        raise BenchError(f"{2 * answers - len(readers)} readers did not begin: {pairs[-1]}")

    def now() -> tuple[float, float, float]:
        return cpu_seconds(server.pid), cpu_seconds(redis_pid), asyncio.get_running_loop().time()

    before, begins = now(), [len(each.text) for each in readers]
    await asyncio.sleep(seconds)
    after, ends = now(), [len(each.text) for each in readers]
    ended = [each for each in readers if each.closed.done()]
    if ended:
        raise BenchError(
            f"{len(ended)} responses ended before their time, the first with {ended[0].text[-200:]!r}"
        )
    server_s, redis_s, took = (b - a for a, b in zip(before, after, strict=True))
    for each in readers:
        each.transport.abort()
    told = [each.told(*bytes_) for each, *bytes_ in zip(readers, begins, ends, strict=True)]
    pieces, frames = (sum(counts) / 2 for counts in zip(*told, strict=True))
    return Figures(pieces / took, frames / took, server_s / pieces * 1e6, redis_s / pieces * 1e6)


@dataclass(frozen=True)
class Found:
    """By who comes after the server that wrote an answer was killed: the response's status, how much of what
    its first reader had, the last chunk's type, seconds to its end (`PATIENCE`: there was none)."""

    status: str
    characters: int
    of: int
    last: str
    seconds: float


async def after_a_kill(first: Process, ports: list[int]) -> Found:
    """A reader asks the second server for what the first had half written."""
    asked, back = await answered(ports[0], "killed", 30)
    await asyncio.sleep(3)
    first.kill()
    await asyncio.gather(asked.closed, back.closed)
    loop = asyncio.get_running_loop()
    began = loop.time()
    late = await reader(ports[1], "GET", "/api/ai/chat/killed/stream", "killed")
    await asyncio.wait((late.whole,), timeout=PATIENCE)
    late.transport.abort()
    chunks = late.chunks()
    return Found(
        late.status,
        sum(len(chunk.get("delta", "")) for chunk in chunks),
        sum(len(chunk.get("delta", "")) for chunk in asked.chunks()),
        str(chunks[-1]["type"]) if chunks else "none",
        round(loop.time() - began, 1),
    )


@contextmanager
def parley(
    redis: Redis, folder: Path, log: IO[bytes], cores: Cores, ports: list[int]
) -> Iterator[list[Process]]:
    """Nodes of one cluster, at `ports`."""
    contender = Contender("parley", "Parley", "product", (sys.executable, "-m", "server", "serve"))
    with product.database("postgresql", folder, cores.load) as url:
        product.migrate(contender, product.settings(ROOT, ports[0], url, folder), folder)
        nodes = []
        for port in ports:
            env = product.settings(ROOT, port, url, folder)
            env |= {
                "REDIS_URL": redis.url,
                "STREAM_CHUNK_SIZE": str(PIECE),
                "STREAM_DELAY_MS": f"{PAUSE * 1000:g}",
            }
            nodes.append(Process(contender.command, core=cores.server, log=log, env=env, cwd=folder))
        yield from started(nodes, ports)


@contextmanager
def node(redis: Redis, work: Path, log: IO[bytes], cores: Cores, ports: list[int]) -> Iterator[list[Process]]:
    env = node_env(build(work))
    env |= {
        "JWT_SECRET_KEY": SECRET,
        "REDIS_URL": redis.url,
        "PIECE": str(PIECE),
        "PAUSE": f"{PAUSE * 1000:g}",
    }
    script = str(PEERS / "ai_resumable.js")
    nodes = [Process(("node", script, str(port)), core=cores.server, log=log, env=env) for port in ports]
    yield from started(nodes, ports)


def started(nodes: list[Process], ports: list[int]) -> Iterator[list[Process]]:
    try:
        for each, port in zip(nodes, ports, strict=True):
            each.wait_for_port(port)
        yield nodes
    finally:
        for each in nodes:
            each.stop()


SIDES = {"node": "AI SDK, resumable-stream (Node)", "parley": "Parley"}


@contextmanager
def serving(side: str, work: Path, ports: list[int], cores: Cores) -> Iterator[tuple[list[Process], int]]:
    """The servers, and the pid of their Redis."""
    with Redis() as redis, tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        assert redis.process is not None
        with (work / f"answers-{side}.log").open("wb") as log:
            if side == "parley":
                made = parley(redis, Path(folder), log, cores, ports)
            else:
                made = node(redis, work, log, cores, ports)
            with made as nodes:
                yield nodes, redis.process.pid


def run(options: argparse.Namespace) -> dict[str, Any]:
    work, mine = HERE / ".work", sorted(os.sched_getaffinity(0))
    cores = Cores(mine[0], mine[-1])
    os.sched_setaffinity(0, {cores.load})  # Redis, too, which is a child
    figures: dict[str, list[Figures]] = {side: [] for side in SIDES}
    for turn in range(options.turns):
        for side in sorted(SIDES, reverse=bool(turn % 2)):
            port = free_port()
            with serving(side, work, [port], cores) as ([server], redis_pid):
                # It shares its core with the databases, and must not be what all wait for.
                taken = uvloop.run(load(port, server, redis_pid, options.answers, options.seconds))
            figures[side].append(taken)
            print(f"{SIDES[side]}: {taken}", flush=True)
    found = {}
    for side in SIDES:
        ports = [free_port(), free_port()]
        with serving(side, work, ports, cores) as (servers, _):
            found[side] = asyncio.run(after_a_kill(servers[0], ports))
        print(f"{SIDES[side]}, killed: {found[side]}", flush=True)
    ratios = [a.server_us / b.server_us for a, b in zip(figures["parley"], figures["node"], strict=True)]
    return {
        "answers": options.answers,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "runs": {side: [asdict(each) for each in figures[side]] for side in SIDES},
        "killed": {side: asdict(found[side]) for side in SIDES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers that outlive a refresh, beside resumable-stream.")
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--turns", type=int, default=3)
    raise_file_limit()
    try:
        told = run(parser.parse_args())
    except BenchError as error:
        sys.exit(f"bench.answers: {error}")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

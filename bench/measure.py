"""One run: a server on one core, the load generator on another, and what the server spent."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import product
from bench.build import Tools
from bench.contenders import Contender
from bench.process import BenchError, Process, Sample, Watched, free_port
from bench.scenarios import Scenario

Result = dict[str, Any]


@dataclass(frozen=True)
class Cores:
    server: int
    load: int


@dataclass(frozen=True)
class Running:
    """A contender's servers, and the load generator's command for them. `people` writes the tokens that the
    command reads: new ones each time."""

    servers: Sequence[Watched]
    command: Sequence[str]
    people: Callable[[], object] = list
    redis: Watched | None = None


def measure(contender: Contender, scenario: Scenario, tools: Tools, cores: Cores) -> Result:
    """Raises: BenchError where a server or the load generator fails."""
    with running(contender, scenario, tools, cores) as its:
        return drive(its, scenario, cores.load)


@contextmanager
def running(contender: Contender, scenario: Scenario, tools: Tools, cores: Cores) -> Iterator[Running]:
    """Raises: BenchError where a server fails."""
    ports = [free_port() for _ in range(scenario.nodes)]
    sessions = [f"sess_{i}" for i in range(scenario.rooms)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        log = stack.enter_context((tools.work / f"{contender.name}-{scenario.name}.log").open("wb"))
        env, redis = dict(contender.env), stack.enter_context(product.redis(scenario.nodes))
        if redis is not None:
            env["REDIS_URL"] = redis.url
        url = ""
        if contender.product:
            url = stack.enter_context(product.database(scenario.database, folder, cores.load))

        def start(port: int) -> Process:
            if contender.product:
                env.update(product.settings(contender.root, port, url, folder))
            command = [part.replace("{port}", str(port)) for part in contender.command]
            cwd = folder if contender.product else contender.root
            return Process(command, core=cores.server, log=log, env=env, cwd=cwd)

        if contender.product:
            env.update(product.settings(contender.root, ports[0], url, folder))
            product.migrate(contender, env, folder)
        if contender.product and scenario.figure == "memory":
            # Not by the process that is measured: what making them left behind would hide what it needs.
            with start(ports[0]) as maker:
                maker.wait_for_port(ports[0])
                sessions = product.create_sessions(ports[0], scenario)
        servers = [stack.enter_context(start(port)) for port in ports]
        for server, port in zip(servers, ports, strict=True):
            server.wait_for_port(port)
        lively = ports[: scenario.nodes - scenario.spectators]
        args = ["--ports", joined(lively), *scenario.load_args()]
        if scenario.spectators:
            args += ["--spectator-ports", joined(ports[len(lively) :])]

        def people() -> list[str]:
            return product.people(scenario, sessions, folder) if scenario.group == "product" else []

        if contender.product and scenario.figure != "memory":
            sessions = product.create_sessions(ports[0], scenario)
        args += people()
        time.sleep(0.3)
        beside = Watched(redis.process.pid) if redis is not None and redis.process is not None else None
        yield Running(servers, [str(tools.loadgen), *args], people, beside)


def joined(ports: list[int]) -> str:
    return ",".join(map(str, ports))


def drive(its: Running, scenario: Scenario, load_core: int | None) -> Result:
    """Run the load generator and look at the servers, and at Redis beside them, at each of its phases."""
    with Load(its, scenario, load_core) as load:
        load.go_on()
        return load.result()


class Load:
    """A load generator on its way, and what its servers had spent at each of its phases."""

    def __init__(self, its: Running, scenario: Scenario, core: int | None, limit: float = 240) -> None:
        """`limit`: seconds that it may take besides its own; `core`: that it is pinned to."""
        self._its, self._scenario = its, scenario
        self._report: Result | None = None
        self._seen: dict[str, list[Sample]] = {}
        self._redis_cpu: dict[str, float] = {}
        self._line = b""
        limit += scenario.duration + scenario.idle
        self._child = subprocess.Popen(
            ["timeout", "--kill-after=5", f"{limit:.0f}", *its.command],
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._child.wait()

    @property
    def stopped(self) -> bool:
        """Whether its load has ended."""
        return "@stop" in self._seen

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP: its clock stands still until SIGCONT."""
        os.killpg(self._child.pid, number)

    def go_on(self, until: str = "", seconds: float | None = None) -> None:
        """Look at the servers at each phase until that one, the end or so many seconds have come."""
        assert self._child.stdout is not None
        end = None if seconds is None else time.monotonic() + seconds
        while until not in self._seen:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._child.stdout], [], [], left)[0]:
                return
            got = self._child.stdout.read(65536)
            if not got:
                return
            *lines, self._line = (self._line + got).split(b"\n")
            for line in lines:
                self._told(line.decode())

    def _told(self, line: str) -> None:
        if line.startswith("{"):
            self._report = json.loads(line)
        if not line.startswith("@"):
            return
        if line == "@start":
            for server in self._its.servers:
                server.forget_peak()
        self._seen[line] = [server.sample() for server in self._its.servers]
        if self._its.redis is not None:
            self._redis_cpu[line] = self._its.redis.sample().cpu_s

    def result(self) -> Result:
        """Raises: BenchError where it failed."""
        status = self._child.wait()
        report, seen, scenario = self._report, self._seen, self._scenario
        if status or report is None or len(seen) != 4:
            raise BenchError(f"the load generator ended with status {status}")
        time.sleep(0.3)
        total = {phase: together(samples) for phase, samples in seen.items()}
        found = figures(report, total, together([server.sample() for server in self._its.servers]))
        if scenario.stall:
            # Seen from the server: a reader that reads nothing does not learn that it was cut off.
            found["cut"] = total["@start"].files - total["@stop"].files
        if self._redis_cpu and report["sent"]:
            spent = self._redis_cpu["@stop"] - self._redis_cpu["@start"]
            found["redis_us_per_message"] = round(spent / int(report["sent"]) * 1e6, 2)
        if scenario.spectators:
            found["us_per_irrelevant"] = irrelevant(report, {p: s[-1] for p, s in seen.items()}, scenario)
        return found


def together(samples: list[Sample]) -> Sample:
    return Sample(
        cpu_s=sum(s.cpu_s for s in samples),
        rss_kib=sum(s.rss_kib for s in samples),
        peak_kib=sum(s.peak_kib for s in samples),
        files=sum(s.files for s in samples),
    )


def irrelevant(report: Result, seen: dict[str, Sample], scenario: Scenario) -> float:
    """µs that a node without members spends on a message, less what it spends when nothing happens."""
    resting = (seen["@start"].cpu_s - seen["@connected"].cpu_s) / scenario.idle
    busy = seen["@stop"].cpu_s - seen["@start"].cpu_s - resting * float(report["wall_s"])
    return round(busy / int(report["sent"]) * 1e6, 2)


def figures(report: Result, seen: dict[str, Sample], closed: Sample) -> Result:
    """What the tables are made of, beside the generator's own report."""
    load_cpu = seen["@stop"].cpu_s - seen["@start"].cpu_s
    # Where nothing else follows, with the rest after it: of the last who came the others hear a little later.
    settled = "@connected" if report["sent"] else "@start"
    setup_cpu = seen[settled].cpu_s - seen["@connecting"].cpu_s
    grown = seen["@start"].rss_kib - seen["@connecting"].rss_kib
    found: Result = {
        **report,
        "connect_cpu_s": round(setup_cpu, 6),
        "load_cpu_s": round(load_cpu, 6),
        "us_per_connect": round(setup_cpu / report["conns"] * 1e6, 2),
        "kib_per_conn": round(grown / report["conns"], 3),
        "rss_before_mib": round(seen["@connecting"].rss_kib / 1024, 2),
        "rss_load_mib": round(seen["@start"].rss_kib / 1024, 2),
        "rss_growth_mib": round((seen["@stop"].peak_kib - seen["@start"].rss_kib) / 1024, 2),
        "rss_closed_mib": round(closed.rss_kib / 1024, 2),
    }
    if report["delivered"]:
        found["us_per_delivery"] = round(load_cpu / report["delivered"] * 1e6, 3)
    if report["wall_s"]:
        found["busy"] = round(load_cpu / report["wall_s"], 3)
    return found

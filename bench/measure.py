"""One run: a server on one core, the load generator on another, and what the server spent."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def measure(contender: Contender, scenario: Scenario, tools: Tools, cores: Cores) -> Result:
    """Raises: BenchError where a server or the load generator fails."""
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
        if scenario.group == "product":
            if contender.product and scenario.figure != "memory":
                sessions = product.create_sessions(ports[0], scenario)
            args += product.people(scenario, sessions, folder)
        time.sleep(0.3)
        beside = Watched(redis.process.pid) if redis is not None and redis.process is not None else None
        return drive(servers, [str(tools.loadgen), *args], scenario, cores.load, beside)


def joined(ports: list[int]) -> str:
    return ",".join(map(str, ports))


def drive(
    servers: Sequence[Watched],
    command: list[str],
    scenario: Scenario,
    load_core: int | None,
    redis: Watched | None = None,
) -> Result:
    """Run the load generator and look at the servers, and at Redis beside them, at each of its phases."""
    seen: dict[str, list[Sample]] = {}
    redis_cpu: dict[str, float] = {}
    report: Result | None = None
    limit = 240 + scenario.duration + scenario.idle
    generator = subprocess.Popen(
        ["timeout", "--kill-after=5", f"{limit:.0f}", *command],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=None if load_core is None else lambda: os.sched_setaffinity(0, {load_core}),
    )
    assert generator.stdout is not None
    try:
        for line in generator.stdout:
            if line.startswith("@"):
                phase = line.strip()
                if phase == "@start":
                    for server in servers:
                        server.forget_peak()
                seen[phase] = [server.sample() for server in servers]
                if redis is not None:
                    redis_cpu[phase] = redis.sample().cpu_s
            elif line.startswith("{"):
                report = json.loads(line)
    finally:
        if report is None:
            generator.terminate()
        generator.stdout.close()
        generator.wait()
    if generator.returncode or report is None or len(seen) != 4:
        raise BenchError(f"the load generator ended with status {generator.returncode}")
    time.sleep(0.3)
    total = {phase: together(samples) for phase, samples in seen.items()}
    found = figures(report, total, together([server.sample() for server in servers]))
    if scenario.stall:
        # Seen from the server: a reader that reads nothing does not learn that it was cut off.
        found["cut"] = total["@start"].files - total["@stop"].files
    if redis_cpu and report["sent"]:
        spent = redis_cpu["@stop"] - redis_cpu["@start"]
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

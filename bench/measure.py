"""One run: a server on one core, the load generator on another, and what the server spent."""

import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import product
from bench.build import Tools
from bench.contenders import Contender
from bench.process import BenchError, Process, Sample, free_port
from bench.scenarios import Scenario

Result = dict[str, Any]


@dataclass(frozen=True)
class Cores:
    server: int
    load: int


def measure(contender: Contender, scenario: Scenario, tools: Tools, cores: Cores) -> Result:
    """Raises: BenchError where the server or the load generator fails."""
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        log = stack.enter_context((tools.work / f"{contender.name}-{scenario.group}.log").open("wb"))
        env = dict(contender.env)
        if contender.product:
            url = stack.enter_context(product.database(scenario.database, folder))
            env |= product.settings(port, url, folder)
            product.migrate(contender, env, folder)
        server = stack.enter_context(
            Process(
                [part.replace("{port}", str(port)) for part in contender.command],
                core=cores.server,
                log=log,
                env=env,
                cwd=folder if contender.product else contender.cwd,
            )
        )
        server.wait_for_port(port)
        args = scenario.load_args()
        if scenario.group == "product":
            sessions = [f"sess_{i}" for i in range(scenario.rooms)]
            if contender.product:
                sessions = product.create_sessions(port, scenario.rooms)
            args += product.people(scenario, sessions, folder)
        time.sleep(0.5)
        return drive(server, [str(tools.loadgen), "--ports", str(port), *args], scenario, cores)


def drive(server: Process, command: list[str], scenario: Scenario, cores: Cores) -> Result:
    """Run the load generator and look at the server at each of its phases."""
    seen: dict[str, Sample] = {}
    report: Result | None = None
    limit = 240 + scenario.duration + scenario.idle
    generator = subprocess.Popen(
        ["timeout", "--kill-after=5", f"{limit:.0f}", *command],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores.load}),
    )
    assert generator.stdout is not None
    with generator:
        for line in generator.stdout:
            if line.startswith("@"):
                phase = line.strip()
                if phase == "@start":
                    server.forget_peak()
                seen[phase] = server.sample()
            elif line.startswith("{"):
                report = json.loads(line)
    if generator.returncode or report is None or len(seen) != 4:
        raise BenchError(f"the load generator ended with status {generator.returncode}")
    time.sleep(1)
    found = figures(report, seen, server.sample())
    if scenario.stall:
        # Seen from the server: a reader that reads nothing does not learn that it was cut off.
        found["cut"] = seen["@start"].files - seen["@stop"].files
    return found


def figures(report: Result, seen: dict[str, Sample], closed: Sample) -> Result:
    """What the tables are made of, beside the generator's own report."""
    load_cpu = seen["@stop"].cpu_s - seen["@start"].cpu_s
    grown = seen["@start"].rss_kib - seen["@connecting"].rss_kib
    found: Result = {
        **report,
        "connect_cpu_s": round(seen["@connected"].cpu_s - seen["@connecting"].cpu_s, 6),
        "load_cpu_s": round(load_cpu, 6),
        "us_per_connect": round(
            (seen["@connected"].cpu_s - seen["@connecting"].cpu_s) / report["conns"] * 1e6, 2
        ),
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

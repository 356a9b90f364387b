"""What the figures were taken on: the machine and every version that matters."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from bench.build import NPM, ROOT, Tools
from bench.process import BenchError

PACKAGES = ("python-socketio", "python-engineio", "uvicorn", "uvloop", "httptools", "orjson", "msgspec")


def describe() -> dict[str, str | int]:
    """Processor, cores, memory, kernel and distribution, as the kernel tells them."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    system = next(
        (
            line.split("=", 1)[1].strip('"')
            for line in lines("/etc/os-release")
            if line.startswith("PRETTY_NAME")
        ),
        platform.system(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "system": system,
    }


def commit() -> str:
    """What was measured; "" outside of a checkout."""
    try:
        return said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    except (BenchError, OSError):
        return ""


def versions(tools: Tools) -> dict[str, dict[str, str]]:
    """By contender: its runtime and its packages."""
    found = {
        "node": {"node": said(["node", "--version"]).lstrip("v"), "bun": said([str(tools.bun), "--version"])},
        "stock": packages(tools.stock),
        "parley": packages(Path(sys.executable)),
    }
    for name in NPM:
        package = name[0] + name[1:].split("@")[0]
        manifest = tools.node / "node_modules" / package / "package.json"
        if package != "bun":
            found["node"][package] = json.loads(manifest.read_text())["version"]
    for version, python in tools.others.items():
        found[f"parley-{version}"] = packages(python)
    return found


def packages(python: Path) -> dict[str, str]:
    code = (
        "import sys, json, platform\nfrom importlib.metadata import version, PackageNotFoundError\n"
        "found = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    answer: dict[str, str] = json.loads(said([str(python), "-c", code, *PACKAGES]))
    return answer


def said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise BenchError(f"{command[0]}: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()


def lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []

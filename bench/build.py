"""Makes what a benchmark needs beside this repository: tools compiled, peers installed.

Everything goes into one ignored folder; a second call finds it there.
"""

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import BenchError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

NPM = (
    "socket.io@4",
    "ws@8",
    "bun",
    "@socket.io/redis-adapter",
    "redis",
    "jsonwebtoken",
    "ai@6.0.326",
    "resumable-stream@2.2.13",
)
#: The stock peer as its own documentation advises, with the faster JSON, loop and parser.
STOCK = (
    "python-socketio==5.18.1",
    "uvicorn==0.54.0",
    "uvloop",
    "httptools",
    "websockets",
    "orjson",
    "PyJWT",
    "redis[hiredis]",
)


@dataclass(frozen=True)
class Tools:
    """Where things are. `node` holds node_modules; `others` are further Pythons for ours."""

    work: Path
    loadgen: Path
    floor: Path
    node: Path
    bun: Path
    stock: Path
    others: dict[str, Path]


def build(work: Path, pythons: Sequence[str] = ()) -> Tools:
    """Compile and install; `pythons` are interpreters to run ours on as well.

    Raises: BenchError where a compiler, npm or a package is missing.
    """
    work.mkdir(parents=True, exist_ok=True)
    loadgen = compile_c(work / "loadgen", sorted((HERE / "loadgen").glob("*.c")))
    floor = compile_c(work / "floor", [HERE / "peers" / "floor.c"])
    node = work / "node"
    npm_install(node)
    stock = make_venv(work / "stock", sys.executable, STOCK)
    others = {}
    for python in pythons:
        version = python_version(python)
        others[version] = make_venv(work / f"python{version}", python, requirements())
    return Tools(work, loadgen, floor, node, node / "node_modules/.bin/bun", stock, others)


def compile_c(target: Path, sources: Sequence[Path]) -> Path:
    newest = max(path.stat().st_mtime for path in sources[0].parent.glob("*.[ch]"))
    if not target.exists() or target.stat().st_mtime < newest:
        run([need("cc"), "-O2", "-Wall", "-o", str(target), *map(str, sources)])
    return target


def npm_install(folder: Path) -> None:
    if stamped(folder, NPM):
        return
    folder.mkdir(exist_ok=True)
    need("node")
    run([need("npm"), "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), *NPM])
    stamp(folder, NPM)


def make_venv(folder: Path, python: str, packages: Sequence[str]) -> Path:
    """A virtual environment with these packages; returns its interpreter."""
    interpreter = folder / "bin" / "python"
    if stamped(folder, packages) and interpreter.exists():
        return interpreter
    if python == sys.executable:
        venv.create(folder, with_pip=True, clear=True)
    else:
        run([python, "-m", "venv", "--clear", str(folder)])
    run([str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    stamp(folder, packages)
    return interpreter


def requirements() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["options"]["install_requires"].split()


def python_version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return run([python, "-c", code]).strip()


def node_env(tools: Tools) -> dict[str, str]:
    return {"NODE_PATH": str(tools.node / "node_modules"), "NODE_ENV": "production"}


def need(program: str) -> str:
    found = shutil.which(program)
    if not found:
        raise BenchError(f"{program} is not installed")
    return found


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:4])} …: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def digest(packages: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(packages).encode()).hexdigest()


def stamped(folder: Path, packages: Sequence[str]) -> bool:
    mark = folder / ".stamp"
    return mark.exists() and mark.read_text() == digest(packages)


def stamp(folder: Path, packages: Sequence[str]) -> None:
    (folder / ".stamp").write_text(digest(packages))

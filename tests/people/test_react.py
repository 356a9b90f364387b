"""examples/react: the hook has right types, and does what it says."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from tests.support.server import ROOT, Server
from tests.support.services import program

NODE_MODULES = ROOT / "tests" / "js" / "node_modules"


def compiled(folder: Path) -> Path:
    """The example as plain modules, beside the packages it needs."""
    shutil.copytree(ROOT / "clients", folder / "clients")
    shutil.copytree(
        ROOT / "examples/react", folder / "examples/react", ignore=shutil.ignore_patterns("node_modules")
    )
    (folder / "node_modules").symlink_to(NODE_MODULES)
    project = folder / "examples" / "react"
    tsc = [program("node"), str(NODE_MODULES / "typescript/bin/tsc"), "--outDir", "built"]
    done = subprocess.run(tsc, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    # A bundler finds modules without their endings; Node does not.
    hook = project / "built" / "useSession.js"
    hook.write_text(hook.read_text().replace('"./conversation"', '"./conversation.js"'))
    (folder / "package.json").write_text('{"type": "module"}')
    for name in ("hook.mjs", "bundles.mjs"):
        shutil.copy(ROOT / "tests/people" / name, folder)
    return folder


def test_its_types_hold_on_a_clean_clone(tmp_path: Path) -> None:
    """`npm run types`: the packages are the example's own, and nowhere above the typed event maps."""
    shutil.copytree(ROOT / "clients", tmp_path / "clients")
    project = tmp_path / "examples" / "react"
    shutil.copytree(ROOT / "examples/react", project, ignore=shutil.ignore_patterns("node_modules"))
    (project / "node_modules").symlink_to(NODE_MODULES)
    done = subprocess.run([program("npm"), "run", "types"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_hook_keeps_a_session(house: Server, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(compiled, tmp_path)
    process = await asyncio.create_subprocess_exec(
        program("node"),
        "hook.mjs",
        house.url,
        house.token("alice"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    assert "all of it" in output.decode()

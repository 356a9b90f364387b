"""Bundle examples/chat for `make run`, which serves it at /chat/: with npm or without, and without Node.

What it is bundled of, and esbuild itself, one program without dependencies, are files of published packages:
`examples/chat/bundle.json` names them by their hashes. The bundle lands in data/chat/, under the name that
its content gives it. Where no registry can be reached there is no chat, and everything else works.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from scripts.fetch_client import ROOT, fetch
from server.vendor import Pin, pins

#: As Node names machines, and esbuild's packages with it.
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
SOURCE = "examples/chat"
#: Seconds; it takes half of one.
BUILT = 60


class Bundle(msgspec.Struct, frozen=True):
    """`packages`: file in node_modules -> what it is. `vendor`: the same for those of the playground's, by
    their names there. `esbuild`: platform -> the program."""

    packages: dict[str, Pin]
    vendor: dict[str, str]
    esbuild: dict[str, Pin]

    @property
    def modules(self) -> dict[str, Pin]:
        """All of node_modules."""
        return self.packages | {name: pins()[file] for name, file in self.vendor.items()}


def main(root: Path = ROOT, environ: Mapping[str, str] = os.environ, data: Path | None = None) -> None:
    """In `data`, else in the folder of that name."""
    data = data or root / "data"
    bundle = msgspec.json.decode((root / SOURCE / "bundle.json").read_bytes(), type=Bundle)
    machine = f"{platform.system().lower()}-{MACHINES.get(platform.machine().lower(), platform.machine())}"
    program = bundle.esbuild.get(machine)
    if program is None:
        print(f"There is no /chat/: esbuild is not known for {machine}; everything else works.")
        return
    folder = data / "build"
    wanted = {"esbuild": program} | {f"node_modules/{name}": pin for name, pin in bundle.modules.items()}
    if not all([fetch(folder / name, pin, environ, root, "chat") for name, pin in wanted.items()]):
        return
    try:
        built(root, folder, data / "chat")
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None)
        print(f"There is no /chat/: {told.decode().strip() if told else error}; everything else works.")


def built(root: Path, folder: Path, target: Path) -> None:
    (folder / "esbuild").chmod(0o700)
    modules = folder / "node_modules"
    for name, package in (("parley-client", "js"), ("parley-react", "react")):
        link = modules / name
        link.unlink(missing_ok=True)
        link.symlink_to(root / "clients" / package)
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    command = [
        folder / "esbuild",
        *(root / SOURCE / "src" / name for name in ("main.jsx", "style.css")),
        "--bundle", "--minify", "--format=esm", "--jsx=automatic", "--target=es2022", "--charset=utf8",
        '--define:process.env.NODE_ENV="production"', "--log-level=error", f"--outdir={made}",
    ]  # fmt: skip
    subprocess.run(
        command,
        cwd=folder,
        env={"NODE_PATH": str(modules), "PATH": os.defpath},
        check=True,
        capture_output=True,
        timeout=BUILT,
    )
    page = (root / SOURCE / "index.html").read_text()
    for source, name in (("main.jsx", "main.js"), ("style.css", "style.css")):
        content = made / name
        hashed = f"{hashlib.sha256(content.read_bytes()).hexdigest()[:32]}{content.suffix}"
        content.rename(made / hashed)
        page = page.replace(f"./src/{source}", hashed)
    (made / "index.html").write_text(page)
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)


if __name__ == "__main__":
    main()

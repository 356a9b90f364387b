"""`make docs`: write again what is generated from the code, and take the README's pictures.

`--check` writes nothing and fails if a text would change; `--texts` leaves the pictures alone.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
sys.path.insert(0, str(ROOT))


def generated() -> dict[Path, str]:
    from server.contract.tables import filled
    from server.contract.typescript import declarations

    template = (ROOT / "docs" / "templates" / "protocol.md").read_text()
    return {
        ROOT / "docs" / "protocol.md": filled(template),
        ROOT / "clients" / "parley-events.d.ts": declarations(),
    }


def texts(check: bool) -> None:
    stale = []
    for path, text in generated().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote {stale[-1]}")
    if check and stale:
        sys.exit(f"not as the code says, run `make docs`: {', '.join(stale)}")


def pictures() -> None:
    """A server of its own, and a headless Chromium that looks at it."""
    from migrations.run import upgrade
    from tests.people.conftest import CLIENT, SETTINGS
    from tests.support.server import Server
    from tests.support.services import program

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder}/parley.db"
        upgrade(database)
        (folder / "data" / "vendor").mkdir(parents=True)
        shutil.copyfile(CLIENT, folder / "data" / "vendor" / CLIENT.name)
        with Server(folder, database, **SETTINGS | {"STREAM_DELAY_MS": "25"}) as node:
            script = ROOT / "tests" / "people" / "pictures.mjs"
            subprocess.run([program("node"), str(script), node.url, str(PICTURES)], check=True, timeout=180)
    print(f"took {', '.join(sorted(file.name for file in PICTURES.glob('*.png')))}")


def main() -> None:
    texts(check="--check" in sys.argv)
    if not {"--check", "--texts"} & set(sys.argv):
        pictures()


if __name__ == "__main__":
    main()

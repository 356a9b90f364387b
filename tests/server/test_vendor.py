"""The published files that the playground runs: pinned by version and hash, with npm and without."""

import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import fetch_client
from server.vendor import Pin, pins
from tests.support.server import ROOT, Server
from tests.support.web import web_client

PINS = pins()
#: The one that a test changes or leaves out, while the others are as published.
NAME = "socket.io.esm.min.js"
PIN = PINS[NAME]


def published(pin: Pin) -> bytes:
    return (ROOT / "tests/js/node_modules" / pin.package / pin.path.removeprefix("package/")).read_bytes()


CONTENT = published(PIN)


def archive(content: bytes = CONTENT, path: str = PIN.path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as package:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        package.addfile(entry, io.BytesIO(content))
    return made.getvalue()


class Registry:
    """Serves the packages; in place of `PIN`'s another answer, where a test sets one."""

    def __init__(self) -> None:
        self.answers = {
            f"/npm/{pin.package}/-/{pin.package}-{pin.version}.tgz": archive(published(pin), pin.path)
            for pin in PINS.values()
        }
        self.asked = list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer = outer.answers[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/npm/"


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def fetched(root: Path, capsys: pytest.CaptureFixture[str], **environ: str) -> tuple[bytes | None, str]:
    """On a machine without npm."""
    fetch_client.main(root, {"PATH": str(root / "nothing"), "HOME": str(root), **environ})
    target = root / "data/vendor" / NAME
    return (target.read_bytes() if target.exists() else None), capsys.readouterr().out


@pytest.mark.parametrize("pin", PINS.values(), ids=[*PINS])
def test_the_pin_is_the_tests_own_package(pin: Pin) -> None:
    """What the browser's tests run is what a newcomer's playground runs."""
    package = json.loads((ROOT / "tests/js/package.json").read_text())
    assert package["dependencies"][pin.package] == pin.version
    assert pin.fits(published(pin))
    assert not pin.fits(published(pin) + b"\n")


def test_without_npm_it_comes_from_the_registry_that_npm_would_ask(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = fetched(tmp_path, capsys, npm_config_registry=registry.url)
    assert (content, registry.asked) == (CONTENT, [*registry.answers])
    for name, pin in PINS.items():
        assert (tmp_path / "data/vendor" / name).read_bytes() == published(pin)
        assert f"Fetched {pin.package} {pin.version}" in said
    # A second run has nothing to do.
    assert fetched(tmp_path, capsys, npm_config_registry=registry.url) == (CONTENT, "")
    assert len(registry.asked) == len(PINS)


def test_one_that_was_changed_is_fetched_anew(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "data/vendor" / NAME
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT + b"// more")
    content, said = fetched(tmp_path, capsys, NPM_CONFIG_REGISTRY=registry.url)
    assert content == CONTENT
    assert "is not the file of socket.io-client" in said


@pytest.mark.parametrize(
    "answer",
    [archive(CONTENT + b"// more"), archive(path="package/dist/other.js"), archive()[:1000], b"", b"<html>"],
    ids=["changed", "another file", "cut off", "empty", "a page"],
)
def test_what_does_not_match_is_not_kept(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    registry.answers[f"/npm/{PIN.package}/-/{PIN.package}-{PIN.version}.tgz"] = answer
    content, said = fetched(tmp_path, capsys, npm_config_registry=registry.url)
    assert content is None
    assert said.count("everything else works") == 1


def test_the_registry_is_read_as_npm_reads_it(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    assert "registry" not in fetch_client.settings(
        project, {"HOME": str(home), "NPM_CONFIG_GLOBALCONFIG": "/none"}
    )
    (home / ".npmrc").write_text("# registry=http://no/\nregistry = http://${PLACE}/\n")
    assert fetch_client.settings(project, {"HOME": str(home)})["registry"].startswith("http://")
    (project / ".npmrc").write_text('registry="http://project/"\n')
    assert fetch_client.settings(project, {"HOME": str(home)})["registry"] == "http://project/"
    environ = {"HOME": str(home), "NPM_CONFIG_REGISTRY": "http://environment/"}
    assert fetch_client.settings(project, environ)["registry"] == "http://environment/"


def test_no_registry_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = fetched(tmp_path, capsys, npm_config_registry="http://127.0.0.1:9/")
    assert content is None
    assert "npm is not installed" in said


def test_it_runs_as_make_run_runs_it() -> None:
    """By its path, with the folder's own data: whatever is there already, it ends well."""
    done = subprocess.run(
        [sys.executable, "scripts/fetch_client.py"], cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"\n", None], ids=["published", "changed", "missing"])
async def test_the_server_serves_what_was_published_and_nothing_else(
    sqlite_url: str, new_server: Callable[..., Server], tmp_path: Path, content: bytes | None
) -> None:
    node = new_server(sqlite_url)
    held = node.folder / "data/vendor"
    node.stop()
    held.mkdir(parents=True, exist_ok=True)
    (held / "other.js").write_text("export {}")
    if content is not None:
        (held / NAME).write_bytes(content)
    node.start()
    good = content == CONTENT
    async with web_client(base_url=node.url) as client:
        got = await client.get(f"/vendor/{NAME}")
        assert (got.status_code, got.content == CONTENT) == (200 if good else 404, good)
        assert (await client.get("/vendor/other.js")).status_code == 404
    assert ("vendor_mismatch" in node.log.read_text()) == (content is not None and not good)

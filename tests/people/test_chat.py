"""examples/chat: bundled as `make run` does it, served, and used; chat.mjs has the story."""

import json
import platform
import shutil
from pathlib import Path

import msgspec
import pytest

from scripts import build_chat
from scripts.fetch_client import installed
from tests.people.telling import tell
from tests.support.server import ROOT, Server

CHAT = ROOT / "examples" / "chat"
#: Of all that is the example's own, each of so many characters at most.
LINES, WIDTH = 600, 118
BUNDLE = msgspec.json.decode((CHAT / "bundle.json").read_bytes(), type=build_chat.Bundle)


@pytest.fixture(scope="module")
def chat(house: Server) -> Server:
    """The house, with the chat where `make run` puts it."""
    build_chat.main(environ={"PATH": ""}, data=house.folder / "data")
    return house


@pytest.mark.browser
@pytest.mark.timeout(120)
async def test_a_day_with_it(chat: Server) -> None:
    async with chat.api("backend", "service") as api:
        agent = (await api.post("/api/chat/agents", json={"name": "Rodents", "kind": "remote"})).json()
    await tell("chat.mjs", "product", chat.url, agent["name"], chat.token(str(agent["id"]), "agent"))


async def test_what_is_served(chat: Server) -> None:
    """The page and what it loads, by names that are their contents'; nothing that was changed."""
    folder = chat.folder / "data" / "chat"
    (script,) = folder.glob("*.js")
    async with chat.api(None) as api:
        page = await api.get("/chat/")
        assert page.status_code == 200
        assert script.name in page.text
        assert (await api.get("/chat?user=ada")).headers["location"].endswith("/chat/?user=ada")
        assert "immutable" in (await api.get(f"/chat/{script.name}")).headers["cache-control"]
        for name in ("index.html", "other.js", "..%2Fparley.db", script.name.replace(".js", ".html")):
            assert (await api.get(f"/chat/{name}")).status_code == 404, name
        changed = folder / f"{'0' * 32}.js"
        changed.write_bytes(script.read_bytes() + b"// more")
        assert (await api.get(f"/chat/{changed.name}")).status_code == 404
        changed.unlink()


@pytest.mark.parametrize("name", BUNDLE.modules)
def test_what_it_is_bundled_of_is_the_tests_own(name: str) -> None:
    pin = BUNDLE.modules[name]
    package = ROOT / "tests" / "js" / "node_modules" / pin.package
    assert json.loads((package / "package.json").read_text())["version"] == pin.version
    assert pin.fits(installed(ROOT, pin))


def test_a_machine_that_esbuild_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "m68k")
    build_chat.main(data=tmp_path)
    assert "m68k; everything else works" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_no_registry_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "examples" / "chat").mkdir(parents=True)
    (tmp_path / "examples" / "chat" / "bundle.json").write_text((CHAT / "bundle.json").read_text())
    build_chat.main(
        tmp_path, {"PATH": "", "HOME": str(tmp_path), "npm_config_registry": "http://127.0.0.1:9/"}
    )
    assert "The chat has no react" in capsys.readouterr().out
    assert not (tmp_path / "data" / "chat").exists()


def test_what_does_not_compile_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(CHAT, tmp_path / "examples" / "chat")
    (tmp_path / "examples" / "chat" / "src" / "main.jsx").write_text("const = 1;")
    for name in ("clients", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    build_chat.main(tmp_path, {"PATH": ""})
    assert 'Expected identifier but found "="' in capsys.readouterr().out


def test_it_is_small() -> None:
    files = [CHAT / "index.html", *(CHAT / "src").iterdir()]
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH

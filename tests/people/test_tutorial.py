"""What README and tutorial lead to: a model's answer in a browser. test_commands.py runs their commands."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.people.conftest import with_client
from tests.people.documents import all_blocks, blocks
from tests.people.telling import tell
from tests.support.folder import serving
from tests.support.server import ROOT, Server


def commands_of(name: str) -> list[str]:
    return [block.text for block in blocks(ROOT / name) if block.language == "sh"]


def targets_of(name: str) -> list[str]:
    found = re.findall(r"\]\(([^)]+)\)|<(http[^>]+)>", (ROOT / name).read_text())
    return sorted(set(map("".join, found)) - {"README.md", "README.ko.md"})


def test_both_readmes_say_the_same() -> None:
    assert commands_of("README.md") == commands_of("README.ko.md")
    assert targets_of("README.md") == targets_of("README.ko.md")
    headings = [re.findall(r"^#+", (ROOT / name).read_text(), re.M) for name in ("README.md", "README.ko.md")]
    assert headings[0] == headings[1]


def test_the_readme_is_a_page_and_begins_with_a_model() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90
    assert commands_of("README.md")[0].startswith("OPENAI_BASE_URL=")


def page_of_the_tutorial(folder: Path, node: Server) -> None:
    """What docs/tutorial/page.md makes of the folder."""
    own = shutil.ignore_patterns("node_modules")
    shutil.copytree(ROOT / "clients/js", folder / "parley-client", ignore=own)
    shutil.copy(node.folder / "data/vendor/socket.io.esm.min.js", folder)
    for block in all_blocks():
        place, _, name = block.title.rpartition("/")
        if place == "my-chat":
            (folder / name).write_text(block.text.replace("http://127.0.0.1:8003", node.url))


@pytest.mark.browser
async def test_a_models_answer_in_the_playground_and_in_a_page_of_ones_own(
    sqlite_url: str, new_server: Callable[..., Server], model: str, tmp_path: Path
) -> None:
    folder = tmp_path / "my-chat"
    folder.mkdir()
    with serving(folder) as url:
        node = new_server(sqlite_url, DEBUG="true", OPENAI_BASE_URL=model, CORS_ORIGINS=f'["{url}"]')
        with_client(node.folder)
        page_of_the_tutorial(folder, node)
        await tell("site.mjs", "asked", f"{node.url}/")
        await tell("site.mjs", "chatted", url)

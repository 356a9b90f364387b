"""The documents: what they link to is there, and the settings in them can be set."""

import re
from pathlib import Path

import pytest

from server.config import Settings
from tests.people.documents import DOCUMENTS, all_blocks
from tests.support.server import ROOT, SECRET


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        path = target.partition("#")[0]
        if path and not re.match(r"https?://", path):
            assert (document.parent / path).exists(), target


def test_files_that_the_map_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`((?:server|events|storage|migrations|scripts)/[\w./]*)`", text):
        assert (ROOT / name).exists(), name


def test_settings_in_blocks_are_settings() -> None:
    lines = [line for block in all_blocks() if block.language == "env" for line in block.text.splitlines()]
    assert lines
    for line in lines:
        name, _, value = re.sub(r"\s+#\s.*$", "", line).partition("=")
        assert name.lower() in Settings.model_fields, line
        Settings.load({"JWT_SECRET_KEY": SECRET, name: value.replace("…", SECRET)}, None)

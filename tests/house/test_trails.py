"""The trails of docs/architecture.md: short, and of names that exist."""

import importlib
import re
from types import ModuleType

import pytest

from tests.support.server import ROOT

TITLES = ("A message", "A chunk", "A reconnect")
#: Lines of one trail, at most.
MOST = 10


def trails() -> dict[str, str]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = re.search(r"^## Three trails\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section
    found = re.findall(r"^\*\*(.+?)\*\*.*?:\n\n(.*?)\n\n", section[1], re.MULTILINE | re.DOTALL)
    return dict(found)


def resolved(name: str) -> object:
    """What a dotted name means: a module's class or function, or something of a class."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        assert isinstance(found, ModuleType)
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("title", TITLES)
def test_a_trail_is_short_and_its_names_exist(title: str) -> None:
    text = trails()[title]
    assert len(text.splitlines()) <= MOST
    names = re.findall(r"`([a-z_]+(?:\.\w+){2,})`", text)
    assert len(names) >= 6
    for name in names:
        assert callable(resolved(name)) or isinstance(resolved(name), property), name

"""The glossary of CONTRIBUTING.md: few words, one meaning each, and all of them in use."""

import ast
import re

import pytest

from tests.support.server import ROOT


def test_the_glossary_has_few_words_and_the_house_uses_them() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = re.search(r"^## The words\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section
    words = re.findall(r"^\| (\w+) \| (.+) \|$", section[1], re.MULTILINE)[1:]
    names = [word for word, _ in words]
    assert 10 <= len(names) <= 20
    assert len(set(names)) == len(names)
    assert len({meaning for _, meaning in words}) == len(words)
    code = "\n".join(path.read_text() for path in (ROOT / "events").rglob("*.py"))
    for name in names:
        assert re.search(rf"\b{name}s?\b", code), name


#: Names that two classes have all the same: python-socketio's face is named as python-socketio names it, and
#: a setting's fault is no upstream's.
TWICE = {"Server", "Fault", "Kind"}


#: What one reads together: the server, and the client, which is installed without it.
HOUSES = {"the server": ("server", "events", "storage"), "the client": ("clients/python",)}


@pytest.mark.parametrize("house", HOUSES)
def test_a_class_has_a_name_of_its_own(house: str) -> None:
    """But for the structs of the wire contract, whose names clients see, and classes that one module
    keeps."""
    contract = {"events/schema.py", "events/parts.py", "events/payloads.py"}
    contract.add("clients/python/parley_client/wire.py")
    places: dict[str, set[str]] = {}
    for package in HOUSES[house]:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for found in ast.walk(ast.parse(path.read_text())):
                if isinstance(found, ast.ClassDef) and name not in contract and found.name[0] != "_":
                    places.setdefault(found.name, set()).add(name)
    twice = {name: sorted(where) for name, where in places.items() if len(where) > 1}
    assert twice.keys() <= TWICE, twice

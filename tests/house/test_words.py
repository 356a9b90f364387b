"""The glossary of CONTRIBUTING.md: few words, one meaning each, and all of them in use."""

import re

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

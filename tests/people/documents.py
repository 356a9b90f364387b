"""What the documents hold: their blocks, and every command that a reader may type."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import ROOT

DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "bench/*.md",
        "clients/*/*.md",
        "examples/**/*.md",
        "tests/*/*.md",
    )
    for path in ROOT.glob(pattern)
    # The template is in docs/protocol.md, filled.
    if not {"node_modules", "templates"} & set(path.parts)
)
#: Shell, js, python and html are run, json and env are read; text is to look at.
LANGUAGES = {"sh", "js", "python", "html", "json", "env", "text"}
#: What a code span in prose begins with if it is a command and not a name.
PROGRAMS = (
    "make", "python", "python3", ".venv/bin/python", "pytest", "parley", "pip", "node", "npm", "npx",
    "curl", "openssl", "sqlite3", "psql", "pg_dump", "pg_restore", "redis-cli", "docker", "kubectl", "git",
    "source", "honcho", "systemctl", "nginx", "haproxy", "sudo",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line, or a whole block where its lines need each other."""

    place: str
    text: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text()
    fences = re.finditer(r"^```(\w*)[ ]?([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    name = document.relative_to(ROOT).as_posix()
    return [Block(name, text.count("\n", 0, fence.start()) + 1, *fence.groups()) for fence in fences]


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document)]


def commands() -> list[Command]:
    """Each command once, where it comes first."""
    first: dict[str, str] = {}
    for place, text in [*_in_blocks(), *_in_comments(), *_in_prose()]:
        first.setdefault(text, place)
    return [Command(place, text) for text, place in first.items()]


def _in_blocks() -> Iterator[tuple[str, str]]:
    for block in all_blocks():
        if block.language != "sh":
            continue
        text = re.sub(r"(^|\s+)#\s.*$", "", block.text, flags=re.MULTILINE).strip()
        needed = re.search(r"^(export |cd |\w+\(\)|\w+=\S*$|\w+=\$\()|\\$", text, re.MULTILINE)
        place = f"{block.document}:{block.line}"
        yield from ((place, each) for each in ([text] if needed else text.splitlines()) if each)


def _in_comments() -> Iterator[tuple[str, str]]:
    """Files of deploy/ say at their beginning how they are used."""
    for file in sorted(ROOT.glob("deploy/**/*")):
        if file.is_file():
            said = r"^#\s+((?:docker|kubectl|make|python) .+)$"
            for line in re.findall(said, file.read_text(), re.MULTILINE):
                yield file.relative_to(ROOT).as_posix(), line


def _in_prose() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for span in re.findall(r"`([^`]+)`", prose(document)):
            text = " ".join(span.split())
            bare = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", text)
            if bare.partition(" ")[0] in PROGRAMS and " " in bare:
                yield document.relative_to(ROOT).as_posix(), text

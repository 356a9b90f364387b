"""The documents: what they link to is there, and the settings in them can be set."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench.scenarios import SCENARIOS
from server.config import Settings
from tests.people.documents import DOCUMENTS, all_blocks, prose
from tests.support.server import ROOT, SECRET


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = prose(document)
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
    found = [block.text.splitlines() for block in all_blocks() if block.language == "env"]
    assert found
    for lines in found:
        given = [re.sub(r"\s+#\s.*$", "", line).partition("=") for line in lines]
        for name, _, _ in given:
            assert name.lower() in Settings.model_fields, name
        values = {name: value.replace("…", SECRET) for name, _, value in given}
        Settings.load({"JWT_SECRET_KEY": SECRET, **values}, None)


EXAMPLES = [*(ROOT / "examples").glob("*/*.py"), *(ROOT / "examples").glob("*.py")]


def installed_by_documents() -> list[tuple[Path, Requirement]]:
    """What documents and examples tell people to install with pip; options and folders are none."""
    found = []
    for path in (*DOCUMENTS, *EXAMPLES):
        for words in re.findall(r"pip install ([^`\n&|;]+)", path.read_text()):
            names = [word.strip("\"',.") for word in words.split()]
            found += [(path, Requirement(name)) for name in names if re.match(r"[A-Za-z]", name)]
    return found


@pytest.mark.parametrize(("path", "wanted"), installed_by_documents(), ids=str)
def test_packages_that_documents_name_are_those_that_are_meant(path: Path, wanted: Requirement) -> None:
    """They are what the tests have (nobody's who took a free name), and an extra is spelled as its package
    declares it: pip before 23.3 takes no other spelling."""
    declared = metadata(wanted.name).get_all("Provides-Extra") or []
    assert wanted.name != "parley", f"{path}: the index has somebody else's"
    assert wanted.extras <= set(declared), path


def test_what_was_measured_names_the_product_first() -> None:
    text = (ROOT / "docs/compared.md").read_text()
    parts = re.findall(r"^### (The product|The bare engine)\n(.*?)(?=^#|^<!--|^!\[)", text, re.M | re.S)
    assert [name for name, _ in parts] == ["The product", "The bare engine"]
    for (name, body), group in zip(parts, ("product", "echo"), strict=True):
        titles = re.findall(r"^\| ([^|]+) \|", body, re.M)[1:]
        assert titles and "" not in titles
        known = {scenario.title for scenario in SCENARIOS.values() if scenario.group == group}
        assert set(titles) <= known, name


#: What a bare Debian has (priority "required"), what a README begins with, and shells' own words.
THERE = set(
    [
        "bash",
        "cat",
        "cd",
        "cp",
        "export",
        "grep",
        "make",
        "mkdir",
        "python",
        "python3",
        "sed",
        "sh",
        "source",
        "tar",
        "timeout",
        "umask",
    ]
)
#: Programs of the virtual environment, and those that come in a package with another one.
COMES_WITH = {
    "pip": "python", "pytest": "python", ".venv/bin/python": "python", "npx": "npm", "psql": "initdb",
    "pg_dump": "initdb", "pg_restore": "initdb", "redis-cli": "redis-server",
    "postgres": "initdb", "pgbench": "initdb",
}  # fmt: skip


CALL = re.compile(r'(?:program\(|subprocess\.\w+\(\s*\[)"([\w.-]+)"')


def programs_called() -> set[str]:
    """By the documents' shell blocks and by the tests, the benchmark and the scripts."""
    called = set()
    for block in all_blocks():
        if block.language == "sh" and not block.text.lstrip().startswith(("docker", "kubectl")):
            quoted = re.sub(r"'[^']*'|\\\\\n", "", block.text)
            for part in re.split(r"\|\||&&|[|;\n]|\$\(|^\(", re.sub(r"#.*", "", quoted), flags=re.M):
                words = [word for word in part.split() if not re.match(r"[A-Z_]+=", word)]
                called |= set(words[:1])
    for folder in ("tests", "bench", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            if not {"node_modules", ".work"} & set(path.parts):  # what was fetched
                called |= set(CALL.findall(path.read_text()))
    functions = {"token"}  # a document's own
    return {word for word in called if re.fullmatch(r"[a-z.][\w./-]*", word)} - functions


def test_a_bare_machine_gets_every_program_that_is_called() -> None:
    """What other machines happen to have must not hide that an install step is missing."""
    called = programs_called()
    assert {"pg_dump", "npm", "curl", "redis-cli"} <= called
    script = (ROOT / "scripts" / "ensure_services").read_text()
    ensured = set(re.findall(r"command -v ([\w.-]+)", script)) | {"initdb"}
    missing = {name for name in called if COMES_WITH.get(name, name) not in ensured | THERE}
    assert missing == set()

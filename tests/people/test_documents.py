"""README and the other documents: what they tell one to do works, and what they link to is there."""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server, environment
from tests.support.services import program

DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [path for path in ROOT.glob("docs/**/*.md") if path.parent.name != "templates"]
    + list(ROOT.glob("examples/**/*.md"))
)
DOCUMENTS = [path for path in DOCUMENTS if "node_modules" not in path.parts]


@dataclass(frozen=True)
class Block:
    document: Path
    language: str
    title: str
    text: str


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(document, *each) for each in found]


def readme(title: str) -> str:
    (text,) = [block.text for block in blocks(ROOT / "README.md") if block.title == title]
    return text


async def run(command: list[str], folder: Path, **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**environment(), "NO_PROXY": "127.0.0.1", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()[-2000:] + output.decode()[-2000:]
    return output.decode()


# The first clients, word for word.


async def test_ten_lines_of_javascript_get_a_streamed_answer(house: Server, tmp_path: Path) -> None:
    text = readme("first.mjs")
    assert len(text.strip().splitlines()) <= 11
    (tmp_path / "first.mjs").write_text(text)
    (tmp_path / "node_modules").symlink_to(ROOT / "tests/js/node_modules")
    said = await run([program("node"), "first.mjs"], tmp_path, PARLEY=house.url)
    assert said == "Tell me this again, in pieces\n"


@pytest.mark.parametrize(("title", "expected"), [("first.py", "'ok': True"), ("raw.py", '"ok":true')])
async def test_the_python_clients(house: Server, tmp_path: Path, title: str, expected: str) -> None:
    (tmp_path / title).write_text(readme(title))
    assert expected in await run([sys.executable, title], tmp_path, PARLEY=house.url)


async def test_curl_gets_an_answer_in_one_request(house: Server, tmp_path: Path) -> None:
    said = await run(["bash", "-euc", readme("curl")], tmp_path, PARLEY=house.url)
    assert "event: session" in said
    assert '"type":"stream_end"' in said


async def test_the_fixture_for_applications(tmp_path: Path) -> None:
    (tmp_path / "test_chat.py").write_text(readme("test_chat.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_chat.py"]
    said = await run(command, tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "1 passed" in said


async def test_the_load_test(house: Server, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "examples/load_test.py"), house.url]
    said = await run([*script, "--users", "6", "--room", "3", "--rate", "4", "--seconds", "2"], tmp_path)
    assert "6 connected and joined" in said
    assert re.search(r"acknowledged: \d\d, median", said)
    assert re.search(r"delivered to others: \d\d, median", said)


# Every command of every document.

#: Programs that a document may name without their being run here: other people's, or in a test elsewhere.
ELSEWHERE = {
    ".", "apt-get", "bash", "cat", "cd", "certbot", "cp", "createdb", "createuser", "curl", "do",
    "docker", "done", "echo", "export", "for", "git", "haproxy", "honcho", "journalctl", "jq", "kill",
    "kubectl", "mkdir", "nginx", "openssl", "pg_dump", "pg_restore", "psql", "redis-cli",
    "redis-server", "sleep", "source", "ss", "sudo", "sysctl", "systemctl", "tail", "token", "ulimit",
    "unset", "while",
}  # fmt: skip


def commands(block: Block) -> list[str]:
    """Each command of a shell block, without comments, line continuations and what it sets before itself."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    found = []
    for line in text.splitlines():
        if re.match(r"[A-Z_]+=\$\(|\w+\(\)", line):
            continue  # the output of a command that is run whole, in a test above; a function
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a piece of a longer quotation
        parts = re.split(r"\s(?:&&|\|\||;)\s", " ".join(words))
        for part in parts:
            bare = re.sub(r"^(?:\(?\s*)(?:[A-Z_]+=\S*\s+)*", "", part).strip()
            if bare and not re.match(r"^[A-Z_]+=|^[})|'{]|^\$ ", bare):
                found.append(bare)
    return found


SHELL = sorted(
    {
        (document.relative_to(ROOT).as_posix(), command)
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language in ("sh", "bash", "shell")
        for command in commands(block)
    }
)


@pytest.mark.parametrize(("document", "command"), SHELL)
def test_a_command_of_a_document(document: str, command: str) -> None:
    words = command.split()
    if words[0].rsplit("/", 1)[-1] in ("python", "python3") and words[1:2] == ["-m"] and words[2] == "server":
        _known_to_the_command_line(words[3:])
    elif words[0] == "parley":
        _known_to_the_command_line(words[1:])
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:2]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[0] in ("python", "python3", ".venv/bin/python") and words[1] == "-m":
        module = words[2].split(".")[0]
        assert (ROOT / module).is_dir() or module in sys.stdlib_module_names | {"pytest"}, command
    elif words[0] in ("python", "python3", "node"):
        own = {"first.mjs", "first.py", "raw.py", "worker.mjs"}
        assert words[1] in own or words[1] == "-c" or (ROOT / words[1]).exists(), command
    elif words[0] in ("pip", "npm"):
        assert words[1] in ("install", "run", "ci"), command
    else:
        assert words[0] in ELSEWHERE or (ROOT / words[0]).exists(), f"{document}: nobody runs {command!r}"


def _known_to_the_command_line(words: list[str]) -> None:
    """The command is there, and has every option that is given."""
    name, *given = words or ["--help"]
    if name.startswith("-"):
        return
    subcommands = [word for word in given[:1] if word.isalpha() and name == "sessions"]
    done = subprocess.run(
        [sys.executable, "-m", "server", name, *subcommands, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    for word in given:
        if word.startswith("--"):
            assert word.partition("=")[0] in done.stdout, f"{name} has no {word}"


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


async def test_the_deployment_commands_work(tmp_path: Path) -> None:
    """`migrate`, `check-config` and `token` with the settings that README sets, on a file."""
    shutil.copytree(
        ROOT / "migrations", tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__")
    )
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "HOST": "0.0.0.0"}
    server = [sys.executable, "-m", "server"]
    await run([*server, "migrate"], tmp_path, **env)
    await run([*server, "check-config"], tmp_path, **env)
    assert (await run([*server, "token", "--sub", "alice"], tmp_path, **env)).count(".") == 2
    assert (tmp_path / "x.db").exists()

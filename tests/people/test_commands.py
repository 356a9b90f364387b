"""Every command of the documents is run, in a copy of this folder, against servers of the tests' own.

A command is run as it stands, or as a rule below says, with the reason: `ADDRESSES` (other ports and hosts),
`SERVERS` (commands that do not end), `SHORT` (those that take long) and, not run at all, `EXEMPT`. A command
that must not run here needs its rule together with its line in the document.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.people.conftest import with_client
from tests.people.documents import DOCUMENTS, LANGUAGES, Command, all_blocks, commands, prose
from tests.people.stage import Rules, Stage, instead
from tests.support.server import ROOT, Server
from tests.support.services import Postgres, Redis

#: A shell without the settings that the stage has for operators: a newcomer's.
NEWCOMER = 'env -i PATH="$PATH" HOME="$HOME" SERVICE_PORT=$OWN'

ADDRESSES: Rules = [
    (r"https://chat\.example\.com", "$PARLEY", "the server of this test"),
    (r"http://127\.0\.0\.1:8003", "$PARLEY", "the same"),
    (r"http://127\.0\.0\.1:11434/v1", "$MODEL", "the tests' model"),
    (r"postgresql://parley:secret@db/parley", "$DATABASE_URL", "the tests' PostgreSQL"),
    (r"postgresql://chat@db/chat", "$EMPTY_DATABASE", "an empty database there"),
    (r"redis://parley:secret@redis:6379/0", "$REDIS_URL", "the tests' Redis"),
    (r"HOST=0\.0\.0\.0", "HOST=127.0.0.1", "tests listen on loopback alone"),
    (r"(http\.server .*) 8080$", r"\1 $OWN", "a free port"),
    (r"--port 3\d+", "--port $OWN", "a free port"),
]  # fmt: skip

#: Each is started, seen to work, and ended.
SERVERS: Rules = [
    (r"^((?:[A-Z_]+=\S+ )*)make run$", rf"stays 'up $HERE/' {NEWCOMER} \1make run", "a free port"),
    (r"^python -m server serve$", r"SERVICE_PORT=$OWN stays 'up $HERE/readyz' \g<0>", "a free port"),
    (r"^(python -m server serve --workers) \d$",
     r"SERVICE_PORT=$OWN stays 'up $HERE/readyz' \1 2", "a free port"),
    (r"^python -m http\.server -d \. .*$", r"stays 'up $HERE/examples/small-page/page.js' \g<0>", ""),
    (r"^python -m http\.server.*$", r"stays 'up $HERE/page.js' \g<0>", ""),
    (r"^\S+ -m tests\.conformance\.(servers|client_suite).*$",
     r"stays 'up $HERE/socket.io/?EIO=4\&transport=polling' \g<0>", ""),
    (r"^export AGENT_TOKEN=\$\(python make_agent\.py\)$",
     "answered() { python allow.py | grep 'Paid: receipt'; }\n\\g<0>", "somebody allows it"),
    (r"(python|node) (\S*worker\.\w+ .*?)(\)?)$", r"stays answered \1 \2\3", "until it has answered"),
    (r"^token\(\) \{",
     'answered() { curl -sf -H "Authorization: Bearer $(token \'{"sub": "me"}\')" $PARLEY/api/chat '
     '-d \'{"agent_id": 3, "content": "hello", "stream": false}\' | grep "You said"; }\nexport PARLEY\n'
     r"\g<0>", "asks the workers"),
]  # fmt: skip

#: `make -n` shows what it would run; the arguments are read by the benchmark's own parser.
_PARSED = '''-c "from bench.__main__ import arguments, chosen; chosen(arguments())"'''

SHORT: Rules = [
    (r"^((?:OPENAI_BASE_URL=\S+ )?CORS_ORIGINS=\S+) make run$",
     r"\1 python -m server check-config | grep CORS_ORIGINS=", "make run alone takes seconds, and is run"),
    (r"^make bench.*$", rf"\g<0> -n | grep -- '-m bench' | sed 's/-m bench/{_PARSED}/' | bash -ex",
     "takes 20 minutes and the machine, and installs the peers"),
    (r"-m bench (--.*)$", rf"{_PARSED} \1", "the same"),
    (r"-m bench\.search_seed$", r"\g<0> --url $SEEDED --messages 2000 --rounds 2", "a million take minutes"),
    (r"-m bench\.branches$", r"-c 'import bench.branches'", "measures for a minute"),
    (r"-m bench\.answers$", r"\g<0> --help", "measures for minutes"),
    (r"-m bench\.workers$", r"\g<0> --help", "measures for minutes"),
    (r"-m bench\.growth --before REV$", "-m bench.growth --help", "measures for minutes"),
    (r"-m bench\.search_writes$", r"\g<0> --seconds 0.05 --rounds 1", "measures for a minute"),
    (r"-m bench\.turns( --only NAME)?$", r"\g<0> --help", "test_turns.py runs the calls, in a smaller node"),
    (r"-m tests\.model \d+.*$", "-m tests.model 4 --each",
     "minutes of schedules; test_model.py runs enough of each kind"),
    (r"^make test( ARGS=.*costs.*)?$",
     "make test WORKERS=0 ARGS='-p tests.support.costs -q tests/test_project.py'", "the whole is this run"),
    (r"-m pytest tests/.*$", r"\g<0> --collect-only -q --assert=plain", "the same"),
    (r"^make fresh$", "make -n fresh | grep scripts/fresh", "makes whole machines"),
    (r"^make faults$", "make -n faults | grep 'pytest -m faults'", "runs of many minutes"),
    (r"^make check$", "make -n check", "a minute for mypy without its cache; whoever runs these has run it"),
    (r"^make docs$", "make -n docs && python scripts/docs.py --check", "pictures: half a minute of Chromium"),
    (r"-m server doctor \S+$", r"\g<0> --idle 1", "half a minute of silence"),
    (r"^make cluster$", "make -n cluster | grep scripts/cluster.py",
     "tests/cluster/test_make_cluster.py runs that program"),
    (r"load_test\.py \S+", r"\g<0> --users 6 --room 3 --rate 4 --seconds 1", "ten seconds are its default"),
    (r"^pytest test_chat\.py$", r"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \g<0> -c /dev/null -p no:cacheprovider",
     "as in a project without our plug-ins and settings"),
]  # fmt: skip

EXEMPT: Rules = [
    (r"^npm install socket\.io-client$", "ls tests/js/node_modules/socket.io-client", "needs the registry"),
    (r"npm install( && node|$)", r"ln -sfn ../../tests/js/node_modules node_modules\1",
     "needs the registry; the packages are those that make test installs"),
    (r"npm (pack|publish)\)$", r"npm pack --dry-run --offline)",
     "leaves nothing; tests/clients/test_package.py packs it"),
    (r"^npm run dev$", "npm pkg get scripts.dev | grep vite",
     "vite is not among them; test_react.py runs the hook"),
    (r"^cd test-suite && npm ci && npm test$", ":", "in a checkout of the protocols' own suites"),
    (r"^npx mocha .*$", ":", "in a copy of the client's own suite"),
    (r"^docker .*$", ":", "no container engine in tests: tests/test_deploy.py reads the files"),
    (r"^kubectl .*$", ":", "no cluster either"),
    (r"^python allow\.py$", ":", "answers the worker above"),
    (r"pip install \./clients/python[^&\n]*", "python -c 'import parley_client'",
     "needs the registry; tests/clients/test_pypackage.py installs it"),
    (r"^pip wheel .*clients/python$", "test -f clients/python/pyproject.toml",
     "leaves nothing; test_pypackage.py builds it"),
    (r"^python -m twine upload .*$", ":", "publishes"),
    (r"^pip install openai$", "python -c 'import openai'", "needs the registry"),
    (r"^(?:\.venv/bin/)?pip install '\.\[mcp\]'$", r"python -c 'import mcp'", "needs the registry"),
    (r"^make lock$", "make -n lock | grep 'uv pip compile'", "needs the registry, and changes with it"),
    (r"^make run LOCKED=1$", "make -n -W requirements.lock run LOCKED=1 | grep -- --require-hashes",
     "needs the registry"),
]  # fmt: skip

RULES = EXEMPT + SHORT + ADDRESSES + SERVERS
COMMANDS = commands()
#: Without those that become the same as one before by the rules.
_RUN: dict[str, Command] = {}
for _each in COMMANDS:
    _RUN.setdefault(instead(_each.text, RULES), _each)

#: What they print, where that says whether they did it.
PRINTED = {
    r"^node first\.mjs": r"^Tell me this again, in pieces\n$",
    r"^python first\.py": r"'ok': True",
    r"^python raw\.py": r'^welcome\n(.*\n)*.*"ok":true',
    r"^PARLEY=(.*\n)*.*in one request": r'event: session\n(.*\n)*.*"type":"stream_end"',
    r"^PARLEY=(.*\n)*.*Who are you": r'(?s)"You said: ".*"you\?".*"type":"stream_end"',
    r"^python cors\.py": r"localhost:5173 is known",
    r"^node invite\.mjs": r'^Bob was added to "Lunch".*\n.* Alice Kim, Bob Lee\nAlice Kim: Hello, Bob',
    r"^curl -N .*SESSION": r'"type":"stream_start"(.*\n)*.*"type":"stream_end"',
    r"^pytest": "1 passed",
    r"^python examples/load_test": r"6 connected and joined.*\n(.*\n)*.*acknowledged: \d\d, median",
    r"^token\(\)": r"(?s)You said.*You said",
    r"^(?!.*CORS_ORIGINS=).*make run$": r"http://127\.0\.0\.1:\d+/\S*token=",
    r"^make test": r"\d passed",
    r"import-sessions .*--report": "1",
}


@pytest.fixture(scope="module")
def installation(
    sqlite_template: Path, model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """What `make run` starts: the reader's, and nobody else's."""
    folder = tmp_path_factory.mktemp("installation")
    with_client(folder)
    settings = {
        "DEBUG": "true",
        "WS_CREATE_SESSIONS": "true",
        "RATE_LIMIT_ENABLED": "true",
        "OPENAI_BASE_URL": model,
        "CORS_ORIGINS": '["http://localhost:5173"]',
    }
    with Server.on_sqlite(sqlite_template, folder, **settings) as node:
        yield node


@pytest.fixture(scope="module")
def stage(
    installation: Server,
    model: str,
    postgres: Postgres,
    postgres_template: str,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    mine = {"Authorization": f"Bearer {installation.token('me')}"}
    made = httpx.post(
        f"{installation.url}/api/chat/sessions", json={"agent_id": 1}, headers=mine, trust_env=False
    )
    with Redis() as redis:
        settings = {
            "PARLEY": installation.url,
            "MODEL": model,
            "DATABASE_URL": postgres.url(postgres.create_database(postgres_template)),
            "SEEDED": postgres.url(postgres.create_database(postgres_template)),
            "EMPTY_DATABASE": postgres.url(postgres.create_database()),
            "REDIS_URL": redis.url,
            "TOKEN": installation.token("me"),
            "SESSION": made.json()["session_id"],
        }
        yield Stage(tmp_path_factory.mktemp("stage"), sqlite_template, settings)


@pytest.mark.parametrize(
    "command", _RUN.values(), ids=lambda each: f"{each.place} {each.text.splitlines()[0]}"
)
def test_a_command_of_a_document(stage: Stage, command: Command) -> None:
    said = stage.run(command.text, RULES)
    for pattern, printed in PRINTED.items():
        if re.search(pattern, command.text):
            assert re.search(printed, said), said


# The rules themselves.


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0])
def test_a_rule_is_needed(rule: tuple[str, str, str]) -> None:
    assert any(re.search(rule[0], command.text, re.MULTILINE) for command in COMMANDS)


def test_a_block_says_its_language_and_none_is_hidden_by_indentation() -> None:
    assert {block.language for block in all_blocks()} <= LANGUAGES
    for document in DOCUMENTS:
        assert not re.search(r"(?:^|\n)\n {4}\S", prose(document)), document


def test_the_container_files_can_be_read() -> None:
    """What their commands, which are not run, would read first."""
    composed = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    for name, service in composed["services"].items():
        if "build" in service:
            assert (
                ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]
            ).exists(), name
    for document in yaml.safe_load_all((ROOT / "deploy/kubernetes/parley.yaml").read_text()):
        assert {"apiVersion", "kind", "metadata"} <= set(document)
    steps = re.findall(r"^(?:COPY|ADD) (.+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    for step in steps:
        if "--from" not in step:
            for name in step.split()[:-1]:
                assert (ROOT / name).exists(), name

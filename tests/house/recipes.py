"""What the recipes of CONTRIBUTING.md come to: for each, edits that a contributor would make.

An edit has an anchor, a text of the file beside which it goes. Where the anchor is gone, the recipe leads
elsewhere now: both are to be changed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import ROOT

#: What runs at a customer's.
PRODUCTION = ("server/", "events/", "storage/", "migrations/")


@dataclass(frozen=True)
class Edit:
    path: str
    change: Callable[[str], str]

    def carry_out(self, tree: Path) -> None:
        file = tree / self.path
        file.write_text(self.change(file.read_text() if file.exists() else ""))


@dataclass(frozen=True)
class Written:
    """A file that a program of the tree writes into a folder."""

    path: str
    program: tuple[str, ...]


Steps = tuple[Edit | Written, ...]


def _only(text: str, anchor: str) -> None:
    found = text.count(anchor)
    assert found == 1, f"the anchor {anchor!r} is there {found} times: the recipe leads elsewhere now"


def after(path: str, anchor: str, text: str) -> Edit:
    def change(before: str) -> str:
        _only(before, anchor)
        return before.replace(anchor, anchor + text)

    return Edit(path, change)


def before(path: str, anchor: str, text: str) -> Edit:
    return instead(path, anchor, text + anchor)


def instead(path: str, anchor: str, text: str) -> Edit:
    def change(before: str) -> str:
        _only(before, anchor)
        return before.replace(anchor, text)

    return Edit(path, change)


def new(path: str, text: str) -> Edit:
    def change(before: str) -> str:
        assert not before, f"{path} is there already"
        return text

    return Edit(path, change)


COMMAND = (
    before(
        "events/schema.py",
        "class AuthRefresh(Struct):",
        '''class Headline(InSession):
    """What the session is called."""


''',
    ),
    before(
        "events/payloads.py",
        "class AuthRefreshReply(Struct):",
        """class HeadlineReply(Struct):
    title: str | None


""",
    ),
    before(
        "events/catalog.py",
        '        Command(\n            "auth_refresh",',
        '        Command("headline", schema.Headline, payloads.HeadlineReply, _bounds(_READERS, "read")),\n',
    ),
    before(
        "events/commands.py",
        "    # --- typing and presence\n",
        """    async def headline(
        self, caller: Caller, conn: Connection | None, command: schema.Headline
    ) -> Done:
        record, _ = await self._read(caller, command.session_id)
        return {"title": record.title}

""",
    ),
    before(
        "events/commands.py",
        '            "auth_refresh": self.auth_refresh,\n',
        '            "headline": self.headline,\n',
    ),
    after(
        "bench/turns/commands.py",
        "COMMANDS: Mapping[str, tuple[Input, ...]] = {\n",
        '    "headline": (Input("an unknown field of 25,000 objects", padded()),),\n',
    ),
)

AGENT_KIND = (
    new(
        "events/agents/shout.py",
        '''"""The shouting agent: the user's text in capitals."""

from collections.abc import AsyncIterator

from events.agents.base import Agent, Request
from events.agents.deltas import Delta


class Shout(Agent):
    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        yield (request.message.content or "").upper()
''',
    ),
    after(
        "server/agents.py",
        "from events.agents.replies import REMOTE\n",
        "from events.agents.shout import Shout\n",
    ),
    after("server/agents.py", '    "openai": _openai,\n', '    "shout": lambda settings: Shout(),\n'),
)

GAUGE = (
    after(
        "server/gauges.py",
        '    metrics.watch("rooms", "Rooms with members on this node", lambda: len(hub.rooms))\n',
        '    metrics.watch("strides", "Paces of this node", lambda: 7)\n',
    ),
)

COUNTER = (
    before(
        "events/observer.py",
        "    def recovered(self, ",
        '''    def applauded(self, sender: str) -> None:
        """Somebody began a stream; "user" or "agent"."""

''',
    ),
    before(
        "server/metrics.py",
        "        self.registry = CollectorRegistry(",
        '        self.applause = self._counts("parley_applause", "Streams that were applauded", "sender")\n',
    ),
    before(
        "server/metrics.py",
        "    def recovered(self, ",
        """    def applauded(self, sender: str) -> None:
        self.applause.add(sender)

""",
    ),
    before(
        "events/streams.py",
        '            self._observer.stream("started")\n',
        '            self._observer.applauded("user")\n',
    ),
)

SETTING = (
    after("server/config.py", "    typing_ttl: Seconds = 6.0\n", "    curtain_calls: Whole = 3\n"),
    after(".env.example", "# TYPING_TTL=6\n", "# CURTAIN_CALLS=3\n"),
)

RATE = (
    after("events/bounds.py", '    "presence": Rate(60, 60),\n', '    "mood": Rate(60, 3),\n'),
    instead("events/catalog.py", '_bounds("everybody", "presence")', '_bounds("everybody", "mood")'),
)

FIELD = (
    after("storage/records.py", "    reply_to: str | None = None\n", "    mood: str | None = None\n"),
    before("storage/records.py", "\n\nclass MessageRecord(Struct", "    mood: str | None = None\n"),
    after("storage/records.py", "    deleted_at: datetime | None = None\n", "    mood: str | None = None\n"),
    after(
        "storage/tables.py",
        '    sa.Column("latency_ms", sa.BigInteger),\n',
        '    sa.Column("mood", sa.String(20)),\n',
    ),
    Written("migrations/versions/", ("scripts/migration.py", "a message has a mood")),
    after(
        "events/schema.py",
        "    reply: bool = True\n    parts: GivenParts | None = None\n",
        "    mood: Literal['glad', 'sad'] | None = None\n",
    ),
    after("events/schema.py", "    stream: bool = True\n", "    mood: str | None = None\n"),
    after("events/schema.py", "    error: StreamError | None = None\n", "    mood: str | None = None\n"),
    after("events/schema.py", "    deleted_at: str | None = None\n", "    mood: str | None = None\n"),
    after(
        "events/schema.py",
        "    content: str | UnsetType = UNSET\n",
        "    mood: str | UnsetType = UNSET\n",
    ),
)

TRANSPORT = (
    new("server/transports/lines.py", (ROOT / "tests/house/lines.py").read_text()),
    instead(
        "server/transports/listed.py",
        "from server.transports import socketio,",
        "from server.transports import lines, socketio,",
    ),
    after("server/transports/listed.py", "    websocket.TRANSPORT,\n", "    lines.TRANSPORT,\n"),
    after(
        "bench/turns/calls.py",
        "DOORS: Mapping[str, tuple[Dear, ...]] = {\n",
        '    "`/lines`": (Dear("a session with 1,000 participants", raw),),\n',
    ),
)

#: Each recipe's heading in CONTRIBUTING.md, its edits, and how many files of production it may take.
RECIPES: dict[str, tuple[Steps, int]] = {
    "A command": (COMMAND, 4),
    "A field of a message": (FIELD, 4),
    "A kind of agent": (AGENT_KIND, 2),
    "A transport": (TRANSPORT, 2),
    "A metric that is read": (GAUGE, 1),
    "A metric that is counted": (COUNTER, 3),
    "A setting": (SETTING, 1),
    "A rate limit": (RATE, 2),
}


def files(edits: Steps) -> set[str]:
    return {edit.path for edit in edits}


def production(edits: Steps) -> set[str]:
    return {path for path in files(edits) if path.startswith(PRODUCTION)}


def steps(title: str) -> str:
    """The numbered lines below this heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(rf"^### {title}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no recipe {title!r}"
    lines = re.findall(r"^\d+\. .*(?:\n   .*)*", found[1], re.MULTILINE)
    assert lines, title
    return "\n".join(lines)


def named(title: str) -> set[str]:
    """The files that a recipe's steps name; of a new file its folder."""
    return set(re.findall(r"`((?:\w+/)+[\w.]*|\.env\.example)`", steps(title)))

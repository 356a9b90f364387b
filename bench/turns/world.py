"""A server in which all that may be large is: sessions, lists, rooms, connections. Knows no call."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from msgspec import Struct, structs

from bench.turns import texts
from bench.turns.crowd import Listener, gathered, tour
from bench.turns.probe import Probe
from migrations.run import upgrade
from storage.database import Database, SqlConnection
from storage.ops import FORKS
from storage.records import FeedbackRecord, FileRecord, MessageRecord, ParticipantRecord, SessionRecord
from storage.search import FEW
from storage.statement import Statement
from storage.tables import agents, feedback, files, messages, participants, people, sessions
from tests.agents.worker import Worker
from tests.people.conftest import CLIENT
from tests.support.processes import tail
from tests.support.rawclient import RawClient
from tests.support.server import Server

#: A quiet day: the node's own work is no call's.
SETTINGS = {
    "WS_HEARTBEAT_INTERVAL": "600",
    "WS_CONNECTION_TIMEOUT": "3600",
    "SESSION_CLEANUP_INTERVAL": "3600",
    "LOG_LEVEL": "WARNING",
    "DEBUG": "true",
    "PRESENCE_GRACE": "0.3",
    # What is prepared here is one user's.
    "MAX_STREAMS_PER_USER": "1000",
    "ADMIN_PASSWORD": "a password of the benchmark's",
}

#: As large as the chat's bundle is.
BUNDLED = b"export {};\n" * 30_000
BUNDLE = f"{hashlib.sha256(BUNDLED).hexdigest()[:32]}.js"


@dataclass(frozen=True)
class Size:
    """How many there are of what is bounded by a setting, or not at all."""

    online: int  # of the hall's participants, each with a connection
    many: int  # connections of one user more
    leaving: int  # connections that end at once
    rooms: int  # that one connection is in
    tourists: int  # connections that are in all of them
    missed: int  # messages of one who was away
    listed: int  # sessions of one user
    agents: int
    pieces: int  # of a stream


#: What a node of 10,000 connections may have.
FULL = Size(
    online=1000, many=3000, leaving=2000, rooms=200, tourists=50, missed=1500, listed=10_000, agents=200,
    pieces=15_000,
)  # fmt: skip
#: As much as a test has time for. Pages, JSON and texts are as large as they may be in both.
SMALL = Size(
    online=150, many=150, leaving=150, rooms=40, tourists=10, missed=1000, listed=300, agents=40, pieces=3000,
)  # fmt: skip

#: Messages of a session with nearly all the branches that it may have.
BRANCHED = 2 * FORKS - 200
#: In the hall; and open answers in one session, as many as one user may have.
PARTICIPANTS, OPEN = 1000, 20


class World:
    """`hall` is a session with all that one may have, `quiet` one with nobody else in it, `asked` one of the
    agent `agent`. Users: `owner` of
    everything, `lister` with many sessions, `titled` with long titles, `many` with many connections,
    `tourist` in many rooms."""

    hall, quiet, branched, asked = "sess_hall", "sess_quiet", "sess_branched", "sess_asked"
    #: The first that is seeded: two ids are given before.
    agent = "3"

    def __init__(self, server: Server, probe: Probe, size: Size) -> None:
        self.server, self.probe, self.size = server, probe, size
        self.rooms = [f"sess_room{number}" for number in range(size.rooms)]
        self.crowd: list[Listener] = []
        self._clients: dict[tuple[str, str | None], httpx.AsyncClient] = {}
        self._made = 0
        self.open_answer = ""

    def api(self, sub: str = "owner", role: str | None = None) -> httpx.AsyncClient:
        client = self._clients.get((sub, role))
        if client is None:
            client = self._clients[sub, role] = self.server.api(sub, role)
            client.timeout = httpx.Timeout(120)
        return client

    @property
    def service(self) -> httpx.AsyncClient:
        return self.api("bench", "service")

    def new_id(self) -> str:
        self._made += 1
        return f"made-{self._made}"

    async def session(self, **body: Any) -> str:
        """A new one of the owner's."""
        answer = await self.api().post("/api/chat/sessions", json=body)
        answer.raise_for_status()
        return str(answer.json()["session_id"])

    async def message(self, session_id: str, **body: Any) -> str:
        given = {"content": "x", "reply": False, **body}
        answer = await self.api().post(f"/api/chat/sessions/{session_id}/messages", json=given)
        answer.raise_for_status()
        return str(answer.json()["message_id"])

    async def stream(self, session_id: str, pieces: int, piece: str = "x", **given: Any) -> str:
        """An open one of the owner's, of so many pieces."""
        async with RawClient(self.server.ws_url, session_id, self.server.token("owner")) as producer:
            await producer.welcome()
            message_id = str((await producer.send("stream_start", **given))["message_id"])
            for start in range(0, pieces, 500):
                answers = [
                    producer.send_nowait("stream_chunk", message_id=message_id, index=index, content=piece)
                    for index in range(start, min(pieces, start + 500))
                ]
                await asyncio.gather(*answers)
        return message_id

    async def parts(self, session_id: str, pieces: int) -> str:
        """An open one of the owner's, of a thought and a tool's input that are written in turns."""
        async with RawClient(self.server.ws_url, session_id, self.server.token("owner")) as producer:
            await producer.welcome()
            message_id = str((await producer.send("stream_start"))["message_id"])
            names = ("r", "t")
            for part in (
                {"type": "reasoning", "id": "r", "text": ""},
                {"type": "tool", "id": "t", "tool_call_id": "c", "name": "n", "state": "input_streaming"},
            ):
                await producer.send("stream_part", message_id=message_id, part=part)
            for start in range(0, pieces, 500):
                answers = [
                    producer.send_nowait(
                        "stream_delta",
                        message_id=message_id,
                        index=index + 2,
                        part=names[index % 2],
                        content="x",
                    )
                    for index in range(start, min(pieces, start + 500))
                ]
                await asyncio.gather(*answers)
        return message_id

    async def answer(self, pieces: int, *interrupts: dict[str, Any]) -> str:
        """One of `agent`'s, of so many pieces; it waits, where it asks something."""
        async with Worker(self.server, int(self.agent)) as worker:
            question = await self.message(self.asked, reply=True, when_busy="parallel")
            # Before it may come what was answered in another one.
            while (request := await worker.request())["message"]["message_id"] != question:
                pass
            message_id = await worker.write(request, *["x"] * pieces, end=False)
            if interrupts:
                where = {"session_id": self.asked, "message_id": message_id}
                reply = await worker.call("stream_wait", **where, interrupts=list(interrupts))
                if not reply["ok"]:
                    raise RuntimeError(str(reply)[:300])
        return message_id

    async def fill(self) -> None:
        """Open the crowd's connections."""
        port, size = self.server.port, self.size
        wanted = [(texts.name(number), f"/ws/{self.hall}") for number in range(size.online)]
        wanted += [("many", f"/ws/{self.hall}")] * size.many
        tokens = {user: self.server.token(user) for user, _ in wanted}
        self.crowd = await gathered(port, [(path, tokens[user]) for user, path in wanted])
        for number in range(size.tourists):
            self.crowd.append(await tour(port, self.server.token(f"tourist{number}"), self.rooms))
        for _ in range(OPEN):
            await self.stream("sess_open", 6, texts.escaped())
        await self.probe.rest()

    async def close(self) -> None:
        for listener in self.crowd:
            listener.transport.abort()
        for client in self._clients.values():
            await client.aclose()


@asynccontextmanager
async def world(folder: Path, database_url: str, size: Size, **settings: str) -> AsyncIterator[World]:
    """A running one in an empty database, with the crowd inside."""
    await asyncio.to_thread(upgrade, database_url)
    await seed(database_url, size)
    probe = Probe(folder)
    (folder / "data" / "vendor").mkdir(parents=True)
    shutil.copyfile(CLIENT, folder / "data" / "vendor" / CLIENT.name)
    (folder / "data" / "chat").mkdir()
    (folder / "data" / "chat" / "index.html").write_bytes(b"<p>\n" * 200)
    (folder / "data" / "chat" / BUNDLE).write_bytes(BUNDLED)
    server = Server(folder, database_url, **SETTINGS, **probe.settings, **settings)
    try:
        await server.start_async()
        probe.watch(server.pid)
        made = World(server, probe, size)
        await made.fill()
        try:
            yield made
        except Exception as error:
            error.add_note(tail(server.log))
            raise
        finally:
            await made.close()
    finally:
        await asyncio.to_thread(server.close)


# --- what is stored


_NOW = datetime.now(UTC)


def stored_session(session_id: str, owner: str = "owner", **more: Any) -> SessionRecord:
    return SessionRecord(
        session_id=session_id,
        trace_id=f"trace_{session_id}",
        user_id=owner,
        status="active",
        ttl_hours=24.0,
        created_at=_NOW,
        updated_at=_NOW,
        last_activity=_NOW,
        expires_at=_NOW + timedelta(days=1),
        **{"agent_id": None, "title": "t" * 200, "metadata": {}, **more},
    )


def stored_message(session_id: str, seq: int, content: str, **more: Any) -> MessageRecord:
    return MessageRecord(
        session_id=session_id,
        message_id=f"msg_{session_id}_{seq}",
        seq=seq,
        revision=seq,
        client_message_id=None,
        reply_to=None,
        created_at=_NOW,
        **{
            "sender_type": "user",
            "sender_id": "owner",
            "message_type": "text",
            "status": "complete",
            "content": content,
            "metadata": {},
            **more,
        },
    )


def _followed(seq: int) -> int | None:
    """Every second message begins a branch; none has too many."""
    return max(0, seq - 3) if seq % 2 else None


def _counted(session: SessionRecord, messages: int) -> SessionRecord:
    return structs.replace(session, last_seq=messages, last_revision=messages, message_count=messages)


_CALLED = Statement(people.insert().values({name: sa.bindparam(name) for name in ("user_id", "name")}))


async def store_rows(
    connection: SqlConnection, table: sa.Table, kind: type[Struct], rows: Iterable[Struct]
) -> None:
    names = kind.__struct_fields__
    statement = Statement(table.insert().values({name: sa.bindparam(name) for name in names}))
    await connection.execute_many(statement, (structs.asdict(row) for row in rows))


async def seed(url: str, size: Size) -> None:
    database = Database(url, limit=120)
    await database.connect()
    wide, long = texts.wide(), texts.long_text(texts.ROOM // 3)
    now = _NOW
    async with database.transaction(limit=600) as connection:
        insert = Statement(
            agents.insert().values({n: sa.bindparam(n) for n in ("name", "kind", "config", "is_active")})
        )
        await connection.execute_many(
            insert,
            (
                {"name": "a" * 100, "kind": "remote", "config": wide, "is_active": True}
                for _ in range(size.agents)
            ),
        )
        rooms = [stored_session(f"sess_room{number}") for number in range(size.rooms)]
        listed = [
            _counted(
                stored_session(f"sess_listed{number}", "lister", metadata=wide if number < 100 else {}), 1
            )
            for number in range(size.listed)
        ]
        rooms.append(stored_session("sess_open"))
        rooms.append(stored_session(World.quiet))
        rooms.append(stored_session(World.asked, agent_id=int(World.agent)))
        branched = [
            structs.replace(
                _counted(stored_session(World.branched, agent_id=1), BRANCHED),
                head_seq=BRANCHED,
                head_id=f"msg_{World.branched}_{BRANCHED}",
            )
        ]
        dear = [_counted(stored_session("sess_dear", metadata=wide), 60)]
        answers = [_counted(stored_session("sess_answers", metadata=wide), 20)]
        hall = [_counted(stored_session(World.hall, metadata=wide), 600)]
        titled = [stored_session(f"sess_titled{n}", "titled", title=texts.title(n)) for n in range(FEW)]
        rated = [_counted(stored_session("sess_rated", rated=True), 600)]
        all_sessions = [*hall, *rated, *rooms, *listed, *titled, *dear, *answers, *branched]
        await store_rows(connection, sessions, SessionRecord, all_sessions)
        present = [
            ParticipantRecord(World.hall, texts.name(number), "member", number % 600, now)
            for number in range(PARTICIPANTS - 2)
        ]
        present.append(ParticipantRecord(World.hall, "many", "member", 0, now))
        for room in rooms:
            present += [
                ParticipantRecord(room.session_id, f"tourist{number}", "member", 1, now)
                for number in range(size.tourists)
            ]
        await store_rows(connection, participants, ParticipantRecord, present)
        said = [stored_message(World.hall, seq, "m" * 20) for seq in range(1, 601)]
        said += [
            stored_message(f"sess_listed{n}", 1, long if n < 100 else "short") for n in range(size.listed)
        ]
        said += [
            stored_message("sess_dear", seq, long, metadata=wide, sender_id="dear") for seq in range(1, 61)
        ]
        said += [
            stored_message("sess_answers", seq, texts.escaped(256 * 1024), message_type="stream")
            for seq in range(1, 21)
        ]
        said += [stored_message("sess_rated", seq, "m" * 20, sender_type="agent") for seq in range(1, 601)]
        said += [
            stored_message(World.branched, seq, "m" * 20, parent_seq=_followed(seq))
            for seq in range(1, BRANCHED + 1)
        ]
        await store_rows(connection, messages, MessageRecord, said)
        opinions = [
            FeedbackRecord(number, "sess_rated", f"msg_sess_rated_{number}", "owner", "up", "c" * 100, now)
            for number in range(1, 601)
        ]
        await store_rows(connection, feedback, FeedbackRecord, opinions)
        named = [{"user_id": texts.name(n), "name": "n" * 200} for n in range(PARTICIPANTS)]
        await connection.execute_many(_CALLED, named)
        some_files = [
            FileRecord(
                f"file_{number}", World.hall, f"msg_{World.hall}_{number + 1}", "n" * 255, "text/plain", 1,
                f"/files/file_{number}", None, "filer", now,
            )
            for number in range(500)
        ]  # fmt: skip
        await store_rows(connection, files, FileRecord, some_files)
    await database.disconnect()

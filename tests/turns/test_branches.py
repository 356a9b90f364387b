"""Answers given anew, questions asked otherwise, and the path that all readers are shown: one node with
SQLite, two with PostgreSQL and Redis."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.agents.worker import Worker
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server
from tests.turns.branchmodel import Follower, Model
from tests.turns.conftest import two_nodes
from tests.turns.talk import ids, talk


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sequence[Server]]:
    folder = tmp_path_factory.mktemp("branches")
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "parley.db")
        with Server(folder, f"sqlite:///{folder}/parley.db") as running:
            yield (running, running)
        return
    given = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    with two_nodes(folder, *given) as cluster:
        yield cluster.servers


async def test_an_answer_is_given_anew_and_chosen_between(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        question, first = await at.round("one")
        again = await at.call("regenerate", message_id=first)
        assert (again["message_id"], again["head_id"]) == (question, question)
        await at.head_moved(question)
        second, told = await at.answer(question, "otherwise")
        assert told == []
        start = await at.bob.wait_event("stream_start", lambda start: start["message_id"] == second)
        assert (start["parent_id"], start["reply_to"]) == (question, question)
        assert await at.path() == [question, second]
        joined = await at.joined(1)
        assert joined["head_id"] == second
        assert [m["parent_id"] for m in joined["messages"]] == [None, question]
        assert [m.get("siblings") for m in joined["messages"]] == [None, [first, second]]

        assert (await at.call("select", message_id=first))["head_id"] == first
        await at.head_moved(first)
        assert await at.path() == [question, first]
        follows = await at.ask("two")
        sent = await at.bob.wait_event("message", lambda m: m["message_id"] == follows)
        assert sent["parent_id"] == first
        last, told = await at.answer(follows, "three")
        assert told == ["one", "re: one"]
        assert await at.path() == [question, first, follows, last]
        assert (await at.call("select", message_id=second))["head_id"] == second
        assert (await at.call("select", message_id=first))["head_id"] == last
        assert (await at.call("select", message_id=first, exact=True))["head_id"] == first
        assert await at.path() == [question, first]
        # All of it is there, in the order of commits.
        everything = await at.bob.history(after_revision=0)
        assert sorted(ids(everything)) == sorted([question, first, second, follows, last])


async def test_a_question_is_asked_otherwise(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        one, answer = await at.round("one")
        two, _ = await at.round("two")
        edited = {"message_id": two, "content": "two, in short", "branch": True, "client_message_id": "again"}
        said = await at.call("edit", **edited)
        other = said["message_id"]
        assert (await at.call("edit", **edited))["message_id"] == other
        sent = await at.bob.wait_event("message", lambda m: m["message_id"] == other)
        assert (sent["parent_id"], sent["seq"], sent["revision"]) == (answer, said["seq"], said["revision"])
        new_answer, told = await at.answer(other, "shorter")
        assert told == ["one", "re: one"]
        assert await at.path() == [one, answer, other, new_answer]
        # The very first one, too.
        first = (await at.call("edit", message_id=one, content="ONE", branch=True, reply=False))["message_id"]
        sent = await at.bob.wait_event("message", lambda m: m["message_id"] == first)
        assert sent["parent_id"] is None
        (shown,) = (await at.joined(0))["messages"]
        assert (shown["message_id"], shown["parent_id"], shown["siblings"]) == (first, None, [one, first])
        assert not (await at.bob.call("edit", message_id=one, content="mine", branch=True))["ok"]


async def test_another_version_has_the_files_of_the_first(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at, nodes[0].api() as api:
        posted = await api.post(
            f"/api/chat/sessions/{at.session_id}/files",
            files={"file": ("plan.txt", b"a plan", "text/plain")},
            data={"message": "what is it?"},
        )
        first, file_id = posted.json()["message_id"], posted.json()["file_id"]
        await at.answer(first, "a plan")
        other = (await at.call("edit", message_id=first, content="whose is it?", branch=True))["message_id"]
        sent = await at.bob.wait_event("message", lambda m: m["message_id"] == other)
        request = await at.worker.request()
        await at.worker.write(request, "yours")
        for message in (sent, request["message"], (await at.bob.history())[0]):
            assert (message["message_id"], message["content"]) == (other, "whose is it?")
            assert (message["parent_id"], message["message_type"]) == (None, "file")
            assert [file["file_id"] for file in message["files"]] == [file_id]


async def test_who_asks_again_while_it_is_being_answered(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        question = await at.ask("one")
        assert (await at.call("regenerate", message_id=question))["duplicate"]
        first = await at.worker.write(await at.worker.request(), "so ", end=False)
        await at.alice.wait_event("stream_start", lambda start: start["message_id"] == first)
        assert await at.refused("regenerate", message_id=first) == "STREAM_OPEN"
        await at.call("regenerate", message_id=first, when_busy="interrupt")
        end = await at.bob.wait_event("stream_end", lambda end: end["message_id"] == first)
        assert end["status"] == "cancelled"
        second, _ = await at.answer(question, "otherwise")
        # Others are asked before: it takes its turn behind them.
        await at.ask("two")
        running = await at.worker.write(await at.worker.request(), "so ", end=False)
        three = await at.ask("three")
        assert await at.refused("regenerate", message_id=second, when_busy="reject") == "AGENT_BUSY"
        await at.call("regenerate", message_id=second)
        waiting = (await at.joined(1))["turns"]
        assert [turn["message_id"] for turn in waiting][1:] == [three, question]
        await at.worker.call("stream_end", session_id=at.session_id, message_id=running)
        await at.answer(three, "3")
        await at.answer(question, "a third time")
        turns = (await at.call("turns"))["turns"]
        assert {turn["state"] for turn in turns} == {"done"}


async def test_what_is_asked_again_is_answered_in_that_order(nodes: Sequence[Server]) -> None:
    """Though nothing was said between."""
    async with talk(nodes) as at:
        asked = [(await at.round(text))[0] for text in ("one", "two", "three")]
        last = await at.ask("four")
        running = await at.worker.write(await at.worker.request(), "so ", end=False)
        for question in reversed(asked):
            await at.call("regenerate", message_id=question)
        waiting = [turn["message_id"] for turn in (await at.joined(1))["turns"]]
        assert waiting == [last, *reversed(asked)]
        await at.worker.call("stream_end", session_id=at.session_id, message_id=running)
        for question in reversed(asked):
            await at.answer(question, "again")


async def test_it_is_asked_again_where_nobody_reads(nodes: Sequence[Server]) -> None:
    """By calls alone: no node hears that the first answer has begun."""
    async with nodes[0].api("backend", "service") as backend, nodes[0].api() as api:
        made = await backend.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        session = f"/api/chat/sessions/{await new_session(nodes[0], agent_id=made.json()['id'])}"
        async with Worker(nodes[1], made.json()["id"]) as worker:
            sent = await api.post(f"{session}/messages", json={"content": "one"})
            first = await worker.write(await worker.request(), "1")
            again = await api.post(f"{session}/regenerate", json={"message_id": first})
            assert again.json()["message_id"] == sent.json()["message_id"]
            second = await worker.write(await worker.request(), "2")
            [turn] = (await api.get(f"{session}/turns")).json()["turns"]
            assert (turn["state"], turn["answer_id"]) == ("done", second)


async def test_who_was_asked_before_does_not_answer_out_of_turn(nodes: Sequence[Server]) -> None:
    """It took the request and slept; the question was stopped, and stands in line once more."""
    async with talk(nodes) as at:
        question = await at.ask("one")
        asleep = await at.worker.request()
        await at.call("stream_cancel", message_id=question)
        await at.ask("two")
        running = await at.worker.write(await at.worker.request(), "so ", end=False)
        await at.call("regenerate", message_id=question)
        late = await at.worker.begin(asleep)
        assert late["error"]["code"] == "CONFLICT"
        await at.worker.call("stream_end", session_id=at.session_id, message_id=running)
        await at.answer(question, "1")


async def test_an_answer_stays_on_the_branch_of_its_question(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        one, first = await at.round("one")
        two = await at.ask("two")
        request = await at.worker.request()
        three = (await at.call("edit", message_id=one, content="ONE", branch=True))["message_id"]
        late = await at.worker.write(request, "2")
        await at.alice.wait_event("stream_end", lambda end: end["message_id"] == late)
        answer, told = await at.answer(three, "3")
        assert told == []
        assert await at.path() == [three, answer]
        assert (await at.call("select", message_id=one))["head_id"] == late
        assert await at.path() == [one, first, two, late]


async def test_what_begins_on_another_branch_is_not_steered(nodes: Sequence[Server]) -> None:
    """A question steers the answer on its branch; the next answer is given on the one that was left."""
    async with talk(nodes) as at:
        one = await at.ask("one")
        request = await at.worker.request()
        first = await at.worker.write(request, "so ", end=False)
        two = await at.ask("two")
        await at.call("select", message_id=one, exact=True)
        mind = await at.ask("and mind this", when_busy="steer")
        assert (await at.worker.steer())["message"]["message_id"] == mind
        await at.worker.call("stream_end", session_id=at.session_id, message_id=first)
        second = await at.worker.write(await at.worker.request(), "2", end=False)
        turns = {turn["message_id"]: turn for turn in (await at.joined(0))["turns"]}
        assert (turns[two]["answer_id"], turns[mind]["when_busy"]) == (second, "queue")
        where = {"session_id": at.session_id, "message_id": second}
        await at.worker.call("stream_part", **where, part={"type": "step", "id": "s", "steered": [mind]})
        await at.worker.call("stream_end", **where)
        _, told = await at.answer(mind, "3")
        assert told == ["one"]
        assert at.worker.steers.empty()


async def test_what_begins_beside_an_answer_leaves_it_what_steers_it(nodes: Sequence[Server]) -> None:
    """Its writer was told of the question, and has taken it up: nobody else answers it once more."""
    async with talk(nodes) as at:
        one = await at.ask("one")
        first = await at.worker.write(await at.worker.request(), "so ", end=False)
        mind = await at.ask("and mind this", when_busy="steer")
        assert (await at.worker.steer())["message_id"] == first
        other = {"message_id": one, "content": "ONE", "branch": True, "when_busy": "parallel"}
        await at.call("edit", **other)
        second = await at.worker.write(await at.worker.request(), "2", end=False)
        for answer_id in (second, first):
            where = {"session_id": at.session_id, "message_id": answer_id}
            step = {"type": "step", "id": "s", "steered": [mind]}
            await at.worker.call("stream_part", **where, part=step)
            await at.worker.call("stream_end", **where)
            await at.alice.wait_event("stream_end", lambda end, id=answer_id: end["message_id"] == id)
        turns = {turn["message_id"]: turn for turn in (await at.alice.call("turns"))["turns"]}
        assert (turns[mind]["state"], turns[mind]["answer_id"]) == ("done", first)
        assert at.worker.steers.empty()


async def test_a_deleted_version_counts_where_something_follows_it(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        one = await at.ask("one", reply=False)
        versions = [one]
        for text in ("ONE", "1", "i"):
            said = await at.call("edit", message_id=one, content=text, branch=True, reply=False)
            versions.append(said["message_id"])
        await at.call("select", message_id=one)
        behind = await at.ask("behind the first", reply=False)
        await at.call("select", message_id=versions[3])
        for each in (one, versions[1]):
            await at.call("delete", message_id=each)
        for node in (0, 1):
            (shown,) = (await at.joined(node))["messages"]
            assert (shown["message_id"], shown["siblings"]) == (versions[3], [one, *versions[2:]])
        await at.call("delete", message_id=versions[3])
        (shown,) = await at.bob.history()
        assert shown["siblings"] == [one, *versions[2:]], "one that is shown is among its own"
        await at.call("select", message_id=one)
        assert await at.path() == [one, behind]
        assert (await at.bob.history())[0]["siblings"] == [one, versions[2]]


async def test_what_is_said_at_once_is_one_line(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        question, first = await at.round("one")
        await at.call("regenerate", message_id=first)
        # Between the question and its new answer: these come first.
        between = await at.ask("wait", reply=False)
        second, _ = await at.answer(question, "otherwise")
        doors = (at.alice, at.bob)
        sent = await asyncio.gather(*[doors[n % 2].message(str(n), reply=False) for n in range(10)])
        in_order = [reply["message_id"] for reply in sorted(sent, key=lambda reply: reply["seq"])]
        assert await at.path() == [question, between, second, *in_order]
        # A message at the same time as another version of an earlier one: behind it, or on the branch before.
        mine = sent[8]["message_id"]
        edit = at.call("edit", message_id=mine, content="8!", branch=True, reply=False)
        other, said = await asyncio.gather(edit, at.bob.message("and", reply=False))
        path = await at.path()
        assert other["message_id"] in path
        assert (said["message_id"] in path) == (said["seq"] > other["seq"])


async def test_pages_of_the_path(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        said = []
        for n in range(6):
            said.append(await at.alice.message(str(n), reply=False))
            await asyncio.sleep(0.002)  # times are told in milliseconds, and pages are asked for by them
        await at.call("edit", message_id=said[2]["message_id"], content="2!", branch=True, reply=False)
        await at.call("edit", message_id=said[5]["message_id"], content="5!", branch=True, reply=False)
        await at.ask("6", reply=False)
        path = await at.bob.history()
        assert [m["content"] for m in path] == ["0", "1", "2", "3", "4", "5!", "6"]
        assert all(m["parent_id"] == before["message_id"] for before, m in pairwise(path))

        async def texts(**query: object) -> str:
            reply = await at.bob.call("history", **query)
            return "".join(m["content"] for m in reply["messages"]) + ("…" if reply["has_more"] else "")

        seq = said[4]["seq"]
        assert await texts(limit=3) == "45!6…"
        assert await texts(limit=2, before_seq=seq) == "23…"
        assert await texts(limit=9, before_seq=seq) == "0123"
        assert await texts(limit=2, after_seq=seq) == "5!6"
        assert await texts(limit=1, after_seq=seq) == "5!…"
        assert await texts(limit=2, order="asc") == "01…"
        assert await texts(limit=2, order="desc", before_seq=seq) == "32…"
        assert await texts(before=path[3]["created_at"]) == "012"
        assert await texts(after=path[3]["created_at"]) == "45!6"
        reply = await at.bob.call("history", tree=True, limit=3)
        assert (reply["messages"], reply["has_more"], reply["head_id"]) == ([], True, path[-1]["message_id"])
        assert [(n["message"]["content"], n["parent_id"]) for n in reply["tree"]] == [
            ("2!", path[1]["message_id"]),
            ("5!", path[4]["message_id"]),
            ("6", path[5]["message_id"]),
        ]


async def test_without_branches_nothing_is_said_of_them(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        question, answer = await at.round("one")
        joined = await at.joined(1)
        assert "head_id" not in joined
        assert not any({"parent_id", "siblings"} & message.keys() for message in joined["messages"])
        assert "parent_id" not in (await at.bob.wait_event("stream_start"))
        async with nodes[0].api() as api:
            url = f"/api/chat/sessions/{at.session_id}/messages?tree=true"
            whole = (await api.get(url)).json()
        assert [node["parent_id"] for node in whole["tree"]] == [None, question]
        assert whole["head_id"] == answer
        # A question without an answer is asked again where it stands.
        stopped = await at.ask("two")
        await at.worker.request()
        await at.call("stream_cancel", message_id=stopped)
        await at.call("regenerate", message_id=stopped)
        last, told = await at.answer(stopped, "2")
        assert told == ["one", "re: one"]
        assert "head_id" not in await at.joined(0)
        assert await at.path() == [question, answer, stopped, last]


async def test_who_may(nodes: Sequence[Server]) -> None:
    async with talk(nodes) as at:
        question, answer = await at.round("one")
        other = await new_session(nodes[0], "carol")
        async with nodes[0].api() as owner:
            await owner.put(f"/api/chat/sessions/{at.session_id}/participants/dave", json={"role": "viewer"})
        async with (
            enter("rest", nodes[0], "dave", at.session_id) as viewer,
            enter("rest", nodes[1], "carol", other) as stranger,
        ):
            for command in ("regenerate", "select"):
                refused = await viewer.call(command, message_id=answer)
                assert refused["error"]["code"] == "FORBIDDEN"
                refused = await stranger.call(command, message_id=answer)
                assert refused["error"]["code"] in ("MESSAGE_NOT_FOUND", "AGENT_NOT_FOUND")
        its_own = {"session_id": at.session_id, "message_id": answer}
        for command, said in (("regenerate", {}), ("select", {}), ("edit", {"content": "?", "branch": True})):
            refused = await at.worker.call(command, **its_own, **said)
            assert refused["error"]["code"] == "FORBIDDEN", command
        await at.call("delete", message_id=question)
        assert await at.refused("regenerate", message_id=answer) == "MESSAGE_NOT_FOUND"
        assert await at.refused("edit", message_id=question, content="?", branch=True) == "MESSAGE_NOT_FOUND"


# --- any history


class Stage:
    """A worker and callers that stay, for one history after the other."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes, self.loop, self._open = nodes, asyncio.new_event_loop(), AsyncExitStack()
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        async with self.nodes[0].api("backend", "service") as backend:
            made = await backend.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        self.agent = made.json()["id"]
        self.worker = await self._open.enter_async_context(Worker(self.nodes[1], self.agent))

    def close(self) -> None:
        self.loop.run_until_complete(self._open.aclose())
        self.loop.close()

    async def play(self, steps: Sequence[tuple[str, int]]) -> None:
        session_id = await new_session(self.nodes[0], agent_id=self.agent, members=("bob",))
        async with (
            enter("websocket", self.nodes[0], "alice", session_id) as alice,
            enter("websocket", self.nodes[1], "bob", session_id) as bob,
        ):
            model = Model()
            for number, (what, which) in enumerate(steps):
                await self._step(model, alice, what, which, f"{what} {number}")
            await self._check(model, session_id, bob)

    async def _step(self, model: Model, door: Door, what: str, which: int, text: str) -> None:
        if what in ("say", "ask"):
            sent = await door.message(text, reply=what == "ask")
            model.add(sent["message_id"], text, model.head)
            if what == "ask":
                await self._answer(model, sent["message_id"], text)
            return
        chosen = {"otherwise": model.mine, "again": list(model.answers)}.get(what, model.order)
        if not chosen:
            return
        target = chosen[which % len(chosen)]
        gone = model.texts[model.answers.get(target, target) if what == "again" else target] == ""
        if what == "otherwise":
            reply = await door.call("edit", message_id=target, content=text, branch=True, reply=False)
        elif what == "again":
            reply = await door.call("regenerate", message_id=target)
        elif what == "delete":
            reply = await door.call("delete", message_id=target)
        else:
            reply = await door.call("select", message_id=target, exact=what == "back")
        assert reply["ok"] != (gone and what in ("otherwise", "again", "delete")), reply
        if not reply["ok"]:
            return
        if what == "otherwise":
            model.add(reply["message_id"], text, model.parents[target])
            model.branched = True
        elif what == "again":
            model.lead_to(model.parents[target])
            await self._answer(model, model.answers[target], text)
        elif what == "delete":
            model.texts[target] = ""
        else:
            model.lead_to(target if what == "back" else model.newest_behind(target))
            assert reply["head_id"] == model.head

    async def _answer(self, model: Model, question: str, text: str) -> None:
        request = await self.worker.request()
        assert request["message"]["message_id"] == question
        path = model.path()
        told = [each for each in path[: path.index(question)] if model.texts[each]]
        assert ids(request["history"]) == told
        model.add(await self.worker.write(request, text), text, model.head, question)

    async def _check(self, model: Model, session_id: str, live: Door) -> None:
        """What every reader is shown is the path to the head."""
        path = model.path() if model.parents else []
        for node in self.nodes:
            async with enter("websocket", node, "alice", session_id, limit=500) as late:
                joined = late.joined
            assert ids(joined["messages"]) == path
            assert joined.get("head_id") == (model.head if model.branched else None)
            for message in joined["messages"] if model.branched else ():
                assert message["parent_id"] == model.parents[message["message_id"]]
                family = model.siblings(message["message_id"])
                assert message.get("siblings") == (family if len(family) > 1 else None)
        pages: list[str] = []
        more, before = bool(path), None
        while more:
            page = await live.call("history", limit=3, before_seq=before)
            pages = [*ids(page["messages"]), *pages]
            more, before = page["has_more"], page["messages"][0]["seq"]
        assert pages == path
        tree = (await live.call("history", tree=True, limit=500))["tree"]
        assert {node["message"]["message_id"]: node["parent_id"] for node in tree} == model.parents
        await self._is_told(model, live)
        follower = Follower()
        for received in live.events:
            follower.take(received.name, received.data)
        assert follower.order == model.order
        assert follower.has_to_ask or follower.path == path

    @staticmethod
    async def _is_told(model: Model, live: Door) -> None:
        if model.order:
            last = model.order[-1]
            name = "stream_start" if last in model.answers else "message"
            await live.wait_event(name, lambda event: event["message_id"] == last)
        if model.moves:
            await live.wait_event("session", lambda event: event.get("head_id") == model.moves[-1])


@pytest.fixture(scope="module")
def stage(nodes: Sequence[Server]) -> Iterator[Stage]:
    made = Stage(nodes)
    yield made
    made.close()


STEPS = ("say", "ask", "otherwise", "again", "select", "back", "delete")


@settings(
    max_examples=8, deadline=None, database=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20)), min_size=4, max_size=16))
@example([("say", 0), ("ask", 0), ("again", 0), ("delete", 2)])
@example([("say", 0), ("otherwise", 0), ("delete", 0), ("select", 0), ("say", 0), ("otherwise", 0)])
@example([("ask", 0), ("again", 0), ("back", 0), ("ask", 0), ("select", 1), ("again", 1), ("ask", 0)])
def test_every_reader_is_shown_the_path_to_the_head(stage: Stage, steps: list[tuple[str, int]]) -> None:
    stage.loop.run_until_complete(stage.play(steps))

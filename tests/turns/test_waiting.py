"""An answer that waits for people: one node, a worker under the test's control."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from events.answerschemas import check_payload, check_schema
from events.errors import ValidationFailed
from server.contract import VERSION, asyncapi
from tests.agents.worker import Worker
from tests.people.frames import Validators
from tests.support.doors import LIVE, enter, new_session
from tests.support.server import Server
from tests.turns.scene import Scene, scene
from tests.turns.waits import APPROVAL, TOOL, YES, ask_approval, go_on, say


@pytest.fixture(scope="module")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("waiting")
    with Server.on_sqlite(sqlite_template, folder, STREAM_LEASE="6") as running:
        yield running


async def waiting(at: Scene, *more: dict[str, Any], **changed: Any) -> tuple[str, str]:
    """A question whose answer waits: its id, the answer's id."""
    question, _, answer = await at.begun(piece="I am about to pay. ")
    waits = await ask_approval(at.worker, at.session_id, answer, *more, **changed)
    assert (waits["ok"], waits["status"]) == (True, "waiting"), waits
    return question, answer


async def message(at: Scene, message_id: str) -> dict[str, Any]:
    return next(m for m in await at.alice.history() if m["message_id"] == message_id)


async def test_it_goes_on_when_it_is_answered(node: Server) -> None:
    """With what was shown; and history has what readers heard, part by part."""
    async with scene(node) as at:
        question, answer = await waiting(at)
        waits = await at.alice.wait_event("stream_end")
        assert (waits["message_id"], waits["status"], waits["interrupts"]) == (answer, "waiting", [APPROVAL])
        assert await at.open() == [(question, "waiting")]
        said = await say(at.alice, answer)
        assert said["ok"], said
        told = await at.alice.wait_event("message_updated")
        assert (told["status"], told["interrupts"][0]["answer"]) == ("waiting", said["answer"])
        assert said["answer"]["user_id"] == "alice"
        request = await at.worker.request()
        resume = request["resume"]
        assert request["message"]["message_id"] == question
        assert request["fence"] == 2
        assert (resume["message_id"], resume["next_index"]) == (answer, 2)
        assert resume["interrupts"][0]["answer"]["payload"] == YES
        assert [part for part in resume["parts"] if part["type"] == "tool"] == [TOOL]
        claimed = await go_on(at.worker, request, "Paid.")
        assert claimed["next_index"] == 2
        start = await at.alice.wait_event("stream_start", lambda e: e["revision"] > waits["revision"])
        assert start["message_id"] == answer
        end = await at.alice.wait_event("stream_end", lambda e: e["status"] == "complete")
        stored = await message(at, answer)
        assert stored["content"] == end["content"] == "I am about to pay. Paid."
        assert stored["parts"] == end["parts"]
        assert [part["type"] for part in stored["parts"]] == ["text", "tool"]
        assert stored["interrupts"][0]["answer"] == said["answer"]
        assert await at.open() == []
        documented = Validators(asyncapi.document(VERSION))
        documented.check("answer_reply", said)
        documented.check("agent_request_event", request)
        for event in at.alice.events:
            if event.name in ("stream_start", "stream_end", "message_updated"):
                told = {name: value for name, value in event.data.items() if name not in ("type", "position")}
                documented.check(f"{event.name}_event", told)


@pytest.mark.parametrize("kind", LIVE)
async def test_readers_end_with_what_history_has(node: Server, kind: str) -> None:
    """One who joined before, one while it waited, one while it is written on."""
    async with scene(node) as at, enter(kind, node, "alice", at.session_id) as before:
        _, answer = await waiting(at)
        async with enter(kind, node, "alice", at.session_id) as meanwhile:
            shown = next(m for m in meanwhile.joined["messages"] if m["message_id"] == answer)
            assert (shown["status"], shown["interrupts"]) == ("waiting", [APPROVAL])
            assert meanwhile.joined["streams"] == []
            await say(before, answer)
            request = await at.worker.request()
            await go_on(at.worker, request, "Paid", end=False)
            async with enter(kind, node, "alice", at.session_id) as late:
                stream = late.joined["streams"][0]
                assert (stream["message_id"], stream["content"]) == (answer, "I am about to pay. Paid")
                assert [part["type"] for part in stream["parts"]] == ["text", "tool"]
                where = {"session_id": at.session_id, "message_id": answer}
                await at.worker.call("stream_chunk", **where, index=3, content=".")
                rest = await late.call("stream_resume", message_id=answer, from_index=1)
                assert (rest["content"], rest["index"]) == ("I am about to pay. Paid.", 0)
                await at.worker.call("stream_end", **where)
                whole = "I am about to pay. Paid."
                for door in (before, meanwhile, late):
                    end = await door.wait_event("stream_end", lambda e: e["status"] == "complete")
                    assert end["content"] == whole
                for door in (before, meanwhile):
                    # What it adds up to since it was begun anew.
                    begun = max(i for i, event in enumerate(door.events) if event.name == "stream_start")
                    told = [event["content"] for event in door.named("stream_chunk", begun)]
                    assert "".join(told) == whole


async def test_the_first_answer_counts(node: Server) -> None:
    async with scene(node) as at, enter("websocket", node, "alice", at.session_id) as other_tab:
        _, answer = await waiting(at)
        replies = await asyncio.gather(
            say(at.alice, answer, client_message_id="tab-1"),
            say(other_tab, answer, status="cancelled", client_message_id="tab-2"),
        )
        winner, loser = sorted(replies, key=lambda reply: not reply["ok"])
        assert (winner["ok"], loser["error"]["code"]) == (True, "CONFLICT")
        assert loser["error"]["details"]["answer"] == winner["answer"]
        again = await say(at.alice, answer, status=winner["answer"]["status"])
        assert (again["answer"], again["duplicate"]) == (winner["answer"], True)
        request = await at.worker.request()
        assert request["resume"]["interrupts"][0]["answer"] == winner["answer"]
        await go_on(at.worker, request, "So be it.")
        late = await say(other_tab, answer, payload={"approved": False})
        assert late["error"]["details"]["answer"] == winner["answer"]


async def test_it_goes_on_where_nobody_reads(node: Server) -> None:
    """Asked and answered by calls alone: the worker hears of it at once."""
    async with scene(node) as at, node.api() as api:
        session_id = await new_session(node, agent_id=at.agent)
        session = f"/api/chat/sessions/{session_id}"
        await api.post(f"{session}/messages", json={"content": "pay"})
        answer = await at.worker.write(await at.worker.request(), "I am about to. ", end=False)
        assert (await ask_approval(at.worker, session_id, answer))["ok"]
        said = {"message_id": answer, "interrupt_id": "i1", "status": "resolved", "payload": YES}
        assert (await api.post(f"{session}/answer", json=said)).status_code == 200
        assert (await go_on(at.worker, await at.worker.request(), "Paid."))["ok"]
        history = (await api.get(f"{session}/messages")).json()["messages"]
        assert [m["content"] for m in history] == ["pay", "I am about to. Paid."]


async def test_an_answer_is_what_its_schema_says(node: Server) -> None:
    async with scene(node) as at:
        _, answer = await waiting(at)
        for payload, field in (({"approved": "yes"}, "payload.approved"), ({}, "payload")):
            refused = await say(at.alice, answer, payload=payload)
            assert refused["error"]["code"] == "VALIDATION_ERROR"
            assert refused["error"]["details"]["field"] == field
        none = await at.alice.call("answer", message_id=answer, interrupt_id="i1", status="resolved")
        assert none["error"]["message"] == "payload is required"
        unknown = await say(at.alice, answer, interrupt_id="i2")
        assert unknown["error"]["code"] == "MESSAGE_NOT_FOUND"
        assert (await say(at.alice, answer, status="cancelled"))["ok"]  # which needs no payload


async def test_who_may_answer(node: Server) -> None:
    async with scene(node) as at, node.api("backend", "service") as backend:
        url = f"/api/chat/sessions/{at.session_id}"
        for user, role in (("bob", "member"), ("vera", "viewer")):
            await backend.put(f"{url}/participants/{user}", json={"role": role})
        _, answer = await waiting(at)
        body = {"message_id": answer, "interrupt_id": "i1", "status": "resolved", "payload": YES}
        refused = await at.worker.call("answer", session_id=at.session_id, **body)
        assert refused["error"]["code"] == "FORBIDDEN"
        for user, code in (("vera", "FORBIDDEN"), ("mallory", "SESSION_NOT_FOUND")):
            async with node.api(user) as api:
                assert (await api.post(f"{url}/answer", json=body)).json()["error"]["code"] == code
        async with node.api("bob") as api:
            reply = await api.post(f"{url}/answer", json=body)
        assert reply.json()["answer"]["user_id"] == "bob"
        assert (await backend.delete("/api/server/users/bob")).status_code == 200
        forgotten = (await message(at, answer))["interrupts"][0]["answer"]
        assert (forgotten["status"], "payload" in forgotten) == ("resolved", False)


async def test_all_have_to_be_answered(node: Server) -> None:
    async with scene(node) as at:
        _, answer = await waiting(at, {"id": "i2", "reason": "input_required"})
        await say(at.alice, answer)
        assert at.worker.requests.empty()
        both = await say(at.alice, answer, interrupt_id="i2", payload="by train")
        assert both["ok"], both
        request = await at.worker.request()
        given = [each["answer"]["payload"] for each in request["resume"]["interrupts"]]
        assert given == [YES, "by train"]
        # It may wait again; ids are not used twice.
        await go_on(at.worker, request, "And", end=False)
        again = await ask_approval(at.worker, at.session_id, answer)
        assert again["error"]["details"]["field"] == "interrupts[0].id"
        mark = at.alice.mark()
        again = await ask_approval(at.worker, at.session_id, answer, id="i3")
        assert again["ok"], again
        told = await at.alice.wait_event("stream_end", since=mark)
        assert [each["id"] for each in told["interrupts"]] == ["i1", "i2", "i3"]
        await say(at.alice, answer, interrupt_id="i3")
        await go_on(at.worker, await at.worker.request(), " so on.")
        stored = await message(at, answer)
        assert (stored["content"], len(stored["interrupts"])) == ("I am about to pay. And so on.", 3)


async def test_what_has_expired_is_cancelled(node: Server) -> None:
    async with scene(node) as at:
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        _, answer = await waiting(at, expires_at=soon.isoformat())
        request = await at.worker.request()
        expired = request["resume"]["interrupts"][0]["answer"]
        assert (expired["status"], expired["why"]) == ("cancelled", "expired")
        late = await say(at.alice, answer)
        assert (late["error"]["code"], late["error"]["details"]["answer"]) == ("CONFLICT", expired)
        await go_on(at.worker, request, "Nobody wanted it.")
        assert (await message(at, answer))["status"] == "complete"


async def test_an_answer_after_its_time(node: Server) -> None:
    """Also before anybody has noticed."""
    async with scene(node) as at:
        _, answer = await waiting(at, expires_at=datetime.now(UTC).isoformat())
        late = await say(at.alice, answer)
        assert (late["error"]["code"], late["error"]["details"]["answer"]["why"]) == ("CONFLICT", "expired")


async def test_a_stop_ends_it(node: Server) -> None:
    async with scene(node) as at:
        for by_answer in (False, True):
            question, answer = await waiting(at)
            stopped = await at.alice.call("stream_cancel", message_id=answer if by_answer else question)
            assert stopped["status"] == "cancelled"
            stored = await message(at, answer)
            assert (stored["status"], stored["content"]) == ("cancelled", "I am about to pay. ")
            assert stored["interrupts"][0]["answer"]["why"] == "stopped"
            late = await say(at.alice, answer)
            assert late["error"]["code"] == "CONFLICT"
            assert await at.open() == []


async def test_its_question_is_deleted(node: Server) -> None:
    async with scene(node) as at:
        question, answer = await waiting(at)
        await at.alice.call("delete", message_id=question)
        end = await at.alice.wait_event("stream_end", lambda e: e["status"] != "waiting")
        assert (end["message_id"], end["status"]) == (answer, "cancelled")
        assert (await say(at.alice, answer))["error"]["code"] == "CONFLICT"


async def test_it_is_deleted_itself(node: Server) -> None:
    async with scene(node) as at, node.api("backend", "service") as backend:
        _, answer = await waiting(at)
        await backend.delete(f"/api/chat/sessions/{at.session_id}/messages/{answer}")
        assert await at.open() == []
        assert (await say(at.alice, answer))["error"]["code"] == "MESSAGE_NOT_FOUND"


async def test_an_interruption_ends_it(node: Server) -> None:
    async with scene(node) as at:
        _, answer = await waiting(at)
        second = await at.ask("something else", when_busy="interrupt")
        request = await at.worker.request()
        assert request["message"]["message_id"] == second
        assert [m["content"] for m in request["history"]] == ["first", "I am about to pay. "]
        assert (await message(at, answer))["status"] == "cancelled"


async def test_others_wait_behind_it(node: Server) -> None:
    async with scene(node) as at:
        first, answer = await waiting(at)
        second = await at.ask("second")
        await at.told(second, "queued")
        assert await at.open() == [(first, "waiting"), (second, "queued")]
        await say(at.alice, answer)
        await go_on(at.worker, await at.worker.request(), "Paid.")
        request = await at.worker.request()
        assert request["message"]["message_id"] == second
        assert "resume" not in request


async def test_its_session_ends(node: Server) -> None:
    async with scene(node) as at, enter("rest", node, "alice", at.session_id) as rest, node.api() as api:
        _, answer = await waiting(at)
        await api.patch(f"/api/chat/sessions/{at.session_id}", json={"status": "archived"})
        assert (await say(rest, answer))["error"]["code"] == "SESSION_ARCHIVED"
        async with asyncio.timeout(15):
            while (ended := (await rest.history())[-1])["status"] == "waiting":
                await asyncio.sleep(0.1)
        assert (ended["status"], ended["interrupts"][0]["answer"]["why"]) == ("cancelled", "stopped")


async def test_who_was_fenced_off_writes_nothing(node: Server) -> None:
    """It took the request, and slept; another one has gone on meanwhile."""
    async with scene(node) as at:
        _, answer = await waiting(at)
        await say(at.alice, answer)
        asleep = await at.worker.request()
        async with Worker(node, at.agent) as other:
            # Nothing is heard of it for STREAM_LEASE: the question is handed out anew.
            handed = asyncio.create_task(at.worker.requests.get()), asyncio.create_task(other.requests.get())
            async with asyncio.timeout(30):
                done, _ = await asyncio.wait(handed, return_when=asyncio.FIRST_COMPLETED)
            request = done.pop().result()
            assert request["fence"] > asleep["fence"]
            claimed = await go_on(other, request, "Paid", end=False)
            assert claimed["ok"], claimed
            refused = await go_on(at.worker, asleep, "twice")
            assert refused["error"]["code"] == "CONFLICT"
            where = {"session_id": at.session_id, "message_id": answer}
            for command, said in (
                ("stream_chunk", {"content": "twice"}),
                ("stream_end", {}),
                ("stream_wait", {"interrupts": [{"id": "i9", "reason": "again"}]}),
            ):
                late = await at.worker.call(command, **where, **said)
                assert late["error"]["code"] == "STREAM_CLOSED", command
            assert (await other.call("stream_end", **where))["ok"]
        assert (await message(at, answer))["content"] == "I am about to pay. Paid"
        for task in handed:
            task.cancel()


async def test_what_may_not_wait(node: Server) -> None:
    async with scene(node) as at:
        begun = await at.alice.call("stream_start")
        where = {"message_id": begun["message_id"]}
        refused = await at.alice.call("stream_wait", **where, interrupts=[APPROVAL])
        assert refused["error"]["message"] == "message_id is not the answer to a question"
        _, _, answer = await at.begun()
        where = {"session_id": at.session_id, "message_id": answer}
        schemas: list[dict[str, Any]] = [
            {"type": 5},
            {"$ref": "https://example.org/schema.json"},
            {"$ref": "#/$defs/nowhere"},
            {"patternProperties": {"(a+)+$": {}}},
            {"description": "x" * 17_000},
        ]
        for schema in schemas:
            interrupts = [{"id": "i1", "reason": "input_required", "response_schema": schema}]
            refused = await at.worker.call("stream_wait", **where, interrupts=interrupts)
            assert refused["error"]["details"]["field"] == "interrupts[0].response_schema", schema
        assert (await at.worker.call("stream_chunk", **where, content="still here"))["ok"]


async def test_a_schema_takes_no_time(node: Server) -> None:
    """Whatever it says: it is looked at for so many steps."""
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(25)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**doubling, "d25": {"type": "string"}}}
    async with scene(node) as at:
        _, answer = await waiting(at, response_schema=schema)
        async with asyncio.timeout(5):
            refused = await say(at.alice, answer, payload="x")
        assert refused["error"]["message"] == "payload takes too long to be checked"


@pytest.mark.parametrize(
    ("schema", "payload"),
    [({"$ref": "#/title", "title": "no schema"}, 1), ({"multipleOf": 0.1}, 10**400)],
    ids=["what it leads to is none", "a number past all others"],
)
def test_what_a_schema_cannot_check_is_refused(schema: dict[str, Any], payload: Any) -> None:
    check_schema(schema, "response_schema")
    with pytest.raises(ValidationFailed, match="cannot be checked"):
        check_payload(payload, schema)


async def test_all_that_a_message_is_answered_is_bounded(node: Server) -> None:
    """Its readers are told all of it with each answer."""
    asks = [{"id": f"more {number}", "reason": "input_required"} for number in range(5)]
    async with scene(node) as at:
        _, answer = await waiting(at, *asks)
        given = [
            await say(at.alice, answer, interrupt_id=each["id"], payload=str(number) * 60_000)
            for number, each in enumerate(asks)
        ]
        assert [each["ok"] for each in given] == [True] * 4 + [False]
        assert given[4]["error"]["details"]["field"] == "payload"
        assert (await say(at.alice, answer, interrupt_id="more 4", payload="short"))["ok"]


def often(schema: dict[str, Any]) -> dict[str, Any]:
    """The same thousands of times."""
    much = {"allOf": [{"$ref": "#/$defs/it"}] * 90}
    return {"$defs": {"it": schema, "much": much}, "allOf": [{"$ref": "#/$defs/much"}] * 90}


#: Work of the library's own, within one keyword; what is given then.
LABORIOUS: dict[str, tuple[dict[str, Any], Any]] = {
    "schemas that say nothing": ({"items": {}}, [1] * 30_000),
    "none that fits": ({"anyOf": [False, True]}, ["a"] * 10_000),
    "nothing": ({"not": False}, ["a"] * 10_000),
    "a long constant": ({"const": [1] * 4000}, [1] * 4000),
    "names": ({"propertyNames": {}}, {str(n): 1 for n in range(5000)}),
    "unknown keywords": ({str(n): 1 for n in range(1200)}, "a"),
    "pairs": ({"uniqueItems": True}, [{"a": [*[1] * 200, n]} for n in range(60)]),
}


async def test_no_keyword_takes_more_than_it_counts_as(node: Server) -> None:
    asks = [
        {"id": name, "reason": "input_required", "response_schema": often(schema)}
        for name, (schema, _) in LABORIOUS.items()
    ]
    async with scene(node) as at:
        for some in (asks[:4], asks[4:]):
            _, answer = await waiting(at, *some)
            for each in some:
                _, given = LABORIOUS[each["id"]]
                async with asyncio.timeout(5):
                    refused = await say(at.alice, answer, interrupt_id=each["id"], payload=given)
                assert refused["error"]["message"] == "payload takes too long to be checked", each["id"]
            await at.alice.call("stream_cancel", message_id=answer)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^b"},
        {"pattern": "a{99999999999999999999}"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/it", "$defs": {
            "it": {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^b"},
        }},
        {"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^b"}]},
    ],
)  # fmt: skip
async def test_no_pattern_is_looked_at(node: Server, schema: dict[str, Any]) -> None:
    """However it is said, and by whatever edition of the standard."""
    async with scene(node) as at:
        _, answer = await waiting(at, response_schema=schema)
        assert (await say(at.alice, answer, payload="a"))["ok"]


async def test_answers_at_once_are_bounded_together(node: Server) -> None:
    """However they come: each is told with all others, and a worker with all of them."""
    async with scene(node) as at, node.api("alice") as api:
        more = [{"id": f"more-{number}", "reason": "input_required"} for number in range(12)]
        _, answer = await waiting(at, *more)
        path = f"/api/chat/sessions/{at.session_id}/answer"
        said = {"message_id": answer, "status": "resolved", "payload": "x" * 60_000}
        replies = await asyncio.gather(
            *(api.post(path, json={**said, "interrupt_id": each["id"]}) for each in more)
        )
        refused = [reply.json()["error"] for reply in replies if reply.status_code != 200]
        assert len(refused) == 12 - 4
        assert {(each["code"], each["details"]["field"]) for each in refused} == {
            ("VALIDATION_ERROR", "payload")
        }
        shown = await message(at, answer)
        assert len(json.dumps(shown["interrupts"])) < 256 * 1024

"""The AI SDK's own chats of 5, 6 and 7, unmodified, at `/api/ai/chat`: what a page sends, and what becomes of
it."""

import asyncio
import base64
from typing import Any

import pytest

from tests.doors.test_openai import history, working
from tests.files.pictures import jpeg
from tests.support.aisdk import AISdk, Chat, texts
from tests.support.doors import enter, new_session
from tests.support.server import Server

SDKS = (5, 6, 7)
each_sdk = pytest.mark.parametrize("sdk", SDKS)


def user(id: str, text: str) -> dict[str, Any]:
    return {"id": id, "role": "user", "parts": [{"type": "text", "text": text}]}


async def asking(pages: AISdk, node: Server, sdk: int, model: str, id: str = "chat", **options: Any) -> Chat:
    return await pages.chat(node, sdk, f"{id}-{sdk}-{model}", query=f"agent_id={model}", **options)


@each_sdk
async def test_a_chat_is_a_session_made_with_its_first_message(
    either: Server, pages: AISdk, sdk: int
) -> None:
    chat = await pages.chat(either, sdk, f"first-{sdk}-{either.port}")
    shown = await chat.send("What is this?")
    asked, answered = shown["messages"]
    assert (shown["status"], shown.get("error")) == ("ready", None)
    assert texts(answered) == "What is this?"
    question, answer = await history(either, shown["id"])
    assert question["client_message_id"] == asked["id"]
    assert (answer["message_id"], answer["content"]) == (answered["id"], "What is this?")
    assert all(part.get("state", "done") == "done" for part in answered["parts"])
    async with either.api() as api:
        session = (await api.get(f"/api/chat/sessions/{shown['id']}")).json()
    assert (session["role"], session["agent"]["name"]) == ("owner", "Echo")


@each_sdk
async def test_the_conversation_goes_on_and_others_see_it(parley: Server, pages: AISdk, sdk: int) -> None:
    """A member's page, and who is there over Socket.IO."""
    chat = await pages.chat(parley, sdk, f"shared-{sdk}")
    shown = await chat.send("one")
    async with parley.api() as api:
        await api.put(f"/api/chat/sessions/{chat.id}/participants/bob", json={"role": "member"})
    async with enter("socketio", parley, "carol", chat.id) as none:
        assert none.joined["error"]["code"] == "SESSION_NOT_FOUND"
    async with enter("socketio", parley, "bob", chat.id) as bob:
        shown = await chat.send("two")
        end = await bob.wait_event("stream_end")
        told = "".join(chunk["content"] for chunk in bob.named("stream_chunk"))
    assert (end["message_id"], told) == (shown["messages"][-1]["id"], texts(shown["messages"][-1]))
    his = await pages.chat(parley, sdk, chat.id, "bob")
    assert (await his.send("three"))["status"] == "ready"
    assert [m["content"] for m in await history(parley, chat.id)] == [
        "one", "one", "two", "two", "three", "three",
    ]  # fmt: skip


@each_sdk
async def test_refusals_are_errors_that_a_page_can_read(parley: Server, pages: AISdk, sdk: int) -> None:
    theirs = await new_session(parley, agent_id=1, viewers=("vera",))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sub": "mallory", "id": theirs}, "SESSION_NOT_FOUND"),
        ({"sub": "vera", "id": theirs}, "FORBIDDEN"),
        ({"id": "sess_0123456789abcdef"}, "SESSION_NOT_FOUND"),
        ({"id": "with a blank"}, "SESSION_NOT_FOUND"),
        ({"id": theirs, "query": "agent_id=99"}, "VALIDATION_ERROR"),
        ({"id": "x-agent", "query": "agent_id=99"}, "AGENT_NOT_FOUND"),
    ]
    for given, code in cases:
        chat = await pages.chat(parley, sdk, **given)
        shown = await chat.send("hello")
        assert (shown["status"], code in shown["error"]) == ("error", True), (given, shown["error"])
    assert await history(parley, theirs) == []


async def test_tools_of_the_page_are_checked_and_other_fields_are_its_own(parley: Server) -> None:
    too_many = {f"tool-{number}": {"parameters": {}} for number in range(65)}
    refused = (
        {"a b": {"parameters": {}}},
        {"a": {"parameters": {"type": "string"}}},
        {"a": {"parameters": 1}},
        too_many,
    )
    ignored = ["search"], {"search": True}, {"a": {"enabled": True}}, {}, None
    async with parley.api() as api:
        for number, tools in enumerate((*refused, *ignored)):
            body = {"id": f"tools-{number}", "message": user("q", "hello"), "tools": tools}
            told = await api.post("/api/ai/chat", json=body)
            if tools in refused:
                assert (told.status_code, told.json()["error"]["details"]["field"][:5]) == (422, "tools")
                assert (await api.get(f"/api/chat/sessions/tools-{number}")).status_code == 404
            else:
                assert told.status_code == 200, tools


@each_sdk
async def test_a_refresh_in_mid_answer_shows_all_of_it_once(parley: Server, pages: AISdk, sdk: int) -> None:
    """In a page that knows nothing, in one that has its messages, and in a second tab."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model)
        await chat.send("go", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "One. ", end=False)
        shown = await chat.until("text === 'One. '")
        fresh = await pages.chat(parley, sdk, chat.id)
        kept = await pages.chat(parley, sdk, chat.id, messages=shown["messages"])
        tabs = [chat, fresh, kept]
        for tab in (fresh, kept):
            await tab.act("resumeStream", apart=True)
            await tab.until("chat.status === 'streaming' && text === 'One. '")
        where = {"session_id": chat.id, "message_id": message_id}
        await worker.call("stream_chunk", **where, index=1, content="Two.")
        await worker.call("stream_end", **where)
        for tab in tabs:
            shown = await tab.until("chat.status === 'ready' && text === 'One. Two.'")
            answers = [message for message in shown["messages"] if message["role"] == "assistant"]
            assert [answer["id"] for answer in answers] == [message_id]
            assert len([part for part in answers[0]["parts"] if part["type"] == "text"]) == 1


@each_sdk
async def test_nothing_to_resume_is_no_error(parley: Server, pages: AISdk, sdk: int) -> None:
    done = await pages.chat(parley, sdk, f"done-{sdk}")
    await done.send("hello")
    theirs = await new_session(parley, agent_id=1)
    for id, sub in ((done.id, "alice"), ("never-seen", "alice"), (theirs, "mallory")):
        chat = await pages.chat(parley, sdk, id, sub)
        shown = await chat.act("resumeStream")
        assert (shown["status"], shown.get("error"), shown["messages"]) == ("ready", None, [])


@each_sdk
async def test_a_page_that_goes_stops_nothing_and_a_stop_does(parley: Server, pages: AISdk, sdk: int) -> None:
    async with working(parley) as (worker, model), parley.api() as api:
        chat = await asking(pages, parley, sdk, model)
        await chat.send("go", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "One. ", end=False)
        await chat.until("text === 'One. '")
        await chat.act("stop")  # it lets go of the request
        other = await pages.chat(parley, sdk, chat.id)
        await other.act("resumeStream", apart=True)
        await other.until("text === 'One. '")
        stopped = (await api.post(f"/api/ai/chat/{chat.id}/stop")).json()
        assert stopped == {"stopped": True, "status": "cancelled"}
        shown = await other.until("chat.status === 'ready'")
        assert texts(shown["messages"][-1]) == "One. "
        assert await worker.cancelled.get() == message_id
        again = await api.post(f"/api/ai/chat/{chat.id}/stop", json={"assistantMessage": {"id": message_id}})
        assert (again.status_code, again.json()["stopped"]) == (200, False)
    assert (await history(parley, chat.id))[-1]["status"] == "cancelled"


@each_sdk
async def test_a_stop_before_the_first_word(parley: Server, pages: AISdk, sdk: int) -> None:
    async with working(parley) as (worker, model), parley.api() as api:
        chat = await asking(pages, parley, sdk, model)
        await chat.send("go", apart=True)
        await worker.request()
        other = await pages.chat(parley, sdk, chat.id)
        await other.act("resumeStream", apart=True)
        assert (await api.post(f"/api/ai/chat/{chat.id}/stop")).json()["stopped"]
        assert "STREAM_CLOSED" in (await chat.until("chat.status === 'error'"))["error"]
        shown = await other.until("chat.status === 'ready'")
    assert shown["messages"] == []


@each_sdk
async def test_a_second_message_while_an_answer_is_written(parley: Server, pages: AISdk, sdk: int) -> None:
    """From another tab: it waits in line, or is refused, as the page says."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model)
        await chat.send("one", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "First.", end=False)
        tab = await pages.chat(parley, sdk, chat.id)
        await tab.send("two", apart=True)
        hasty = await pages.chat(parley, sdk, chat.id, body={"when_busy": "reject"})
        assert "AGENT_BUSY" in (await hasty.send("three"))["error"]
        await worker.call("stream_end", session_id=chat.id, message_id=message_id)
        await chat.until("chat.status === 'ready' && text === 'First.'")
        request = await worker.request()
        assert [each["content"] for each in request["history"]] == ["one", "First."]
        await worker.write(request, "Second.")
        await tab.until("chat.status === 'ready' && text === 'Second.'")


@each_sdk
async def test_again(parley: Server, pages: AISdk, sdk: int) -> None:
    """The new answer takes the old one's place in the page, and stands beside it in the session."""
    async with working(parley) as (worker, model):
        tools = {"pick": {"parameters": {"type": "object"}}}
        chat = await asking(pages, parley, sdk, model, body={"tools": tools})
        for number, act in enumerate((("sendMessage", {"text": "go"}), ("regenerate",))):
            await chat.act(*act, apart=True)
            request = await worker.request()
            assert [tool["name"] for tool in request["tools"]] == ["pick"]
            await worker.write(request, f"Answer {number}.")
            shown = await chat.until(f"chat.status === 'ready' && text === 'Answer {number}.'")
            assert len(shown["messages"]) == 2
        # What is still being written is let go of, too.
        await chat.act("regenerate", {"messageId": shown["messages"][-1]["id"]}, apart=True)
        await worker.write(await worker.request(), "Answer", end=False)
        await chat.until("text === 'Answer'")
        await chat.act("stop")
        await chat.act("regenerate", apart=True)
        await worker.write(await worker.request(), "Answer 3.")
        shown = await chat.until("chat.status === 'ready' && text === 'Answer 3.'")
    question, answer = await history(parley, chat.id)
    assert (question["content"], answer["content"]) == ("go", "Answer 3.")
    assert answer["message_id"] == shown["messages"][-1]["id"]
    assert len(answer["siblings"]) == 4


@each_sdk
async def test_otherwise(parley: Server, pages: AISdk, sdk: int) -> None:
    """A page has one id for a message and all that it becomes."""
    chat = await pages.chat(parley, sdk, f"edit-{sdk}")
    shown = await chat.send("one")
    first = shown["messages"][0]["id"]
    await chat.send("two")
    for text in ("one and a half", "one and three quarters", "one"):
        shown = await chat.send(text, messageId=first)
        assert [texts(message) for message in shown["messages"]] == [text, text]
        assert shown["messages"][0]["id"] == first
    shown = await chat.act("regenerate", {"messageId": first})
    assert [texts(message) for message in shown["messages"]] == ["one", "one"]
    question, answer = await history(parley, chat.id)
    assert (question["content"], answer["content"]) == ("one", "one")
    assert len(question["siblings"]) == 4
    assert answer["message_id"] == shown["messages"][-1]["id"]


@each_sdk
async def test_what_never_came_is_asked_when_it_is_asked_again(
    parley: Server, pages: AISdk, sdk: int
) -> None:
    chat = await pages.chat(parley, sdk, f"late-{sdk}", messages=[user("u1", "hello")])
    shown = await chat.act("regenerate")
    assert [texts(message) for message in shown["messages"]] == ["hello", "hello"]


@each_sdk
async def test_files_within_a_message_and_our_own(parley: Server, pages: AISdk, sdk: int) -> None:
    picture = jpeg(40, 30)
    data = {
        "type": "file",
        "mediaType": "image/jpeg",
        "filename": "a.jpg",
        "url": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}",
    }
    elsewhere = {"type": "file", "mediaType": "image/png", "url": "https://example.com/b.png"}
    chat = await pages.chat(parley, sdk, f"files-{sdk}")
    shown = await chat.send("Look.", files=[data, elsewhere])
    assert (shown["status"], shown.get("error")) == ("ready", None)
    asked, _ = await history(parley, chat.id)
    file, link, text = asked["parts"]
    assert (text["text"], link["url"], file["name"]) == ("Look.", elsewhere["url"], "a.jpg")
    async with parley.api() as api:
        assert (await api.get(f"/files/{file['file_id']}")).content == picture
        given = {"file": ("c.txt", b"some text", "text/plain")}
        path = f"/api/chat/sessions/{chat.id}/files"
        own = (await api.post(path, files=given, data={"post": "false"})).json()
    more = await chat.send("Look!", files=[data, elsewhere, elsewhere], messageId=shown["messages"][0]["id"])
    assert "VALIDATION_ERROR" in more["error"]
    mine = {"type": "file", "mediaType": "text/plain", "url": parley.url + own["file_url"]}
    shown = await chat.send("And this?", files=[mine])
    assert shown["status"] == "ready"
    assert (await history(parley, chat.id))[2]["parts"][0]["file_id"] == own["file_id"]
    assert len(await history(parley, chat.id)) == 4


async def test_files_that_are_none(parley: Server) -> None:
    async with parley.api("erin") as api:
        for url, code in (
            ("data:text/plain;base64,%%%", "VALIDATION_ERROR"),
            ("data:image/png;base64,AAAA", "UNSUPPORTED_FILE_TYPE"),
            ("javascript:alert(1)", "VALIDATION_ERROR"),
        ):
            broken = {"type": "file", "mediaType": "image/png", "url": url}
            body = {"id": "broken", "message": {"id": "u1", "role": "user", "parts": [broken]}}
            assert (await api.post("/api/ai/chat", json=body)).json()["error"]["code"] == code


async def test_names_and_addresses_of_any_length(parley: Server) -> None:
    """Little of them is looked at: each of these once kept the node from everybody else for seconds, the name
    for hours."""
    marks, long = "a" + "\u0316\u0301" * 300_000, {"id": "long", "message": {"id": "u1", "role": "user"}}
    async with parley.api("erin") as api, asyncio.timeout(30):
        for url, status in (
            ("data:," + "%41" * 1_300_000, 422),
            ("data:" + ";a" * 2_000_000, 422),
            ("http://" + "\ufdfa" * 1_300_000, 422),
            ("data:text/plain,hello%20you", 200),
        ):
            parts = [{"type": "file", "url": url, "filename": marks if status == 200 else "x"}]
            answer = await api.post(
                "/api/ai/chat", json=long | {"message": {**long["message"], "parts": parts}}
            )
            assert answer.status_code == status, answer.text[:200]
        [file] = (await api.get("/api/chat/sessions/long/messages")).json()["messages"][0]["files"]
    assert len(file["file_info"]["name"]) == 255


async def test_files_within_messages_are_uploads(sqlite_url: str, new_server: Any) -> None:
    """They count as those that come one by one."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    answers = []
    async with node.api() as api:
        for count in (20, 1):
            file = {"type": "file", "mediaType": "text/plain", "url": "data:text/plain,hello"}
            asked = {"id": f"u{count}", "role": "user", "parts": [file] * count}
            answers.append(await api.post("/api/ai/chat", json={"id": "many", "message": asked}))
    assert answers[0].status_code == 200
    assert (answers[1].status_code, answers[1].json()["error"]["code"]) == (429, "RATE_LIMIT")


async def test_a_repeat_is_the_same_question(either: Server) -> None:
    """With its files. `message` alone is what pages send that keep nothing else."""
    url = f"data:text/plain,{either.port}"
    asked = user("u1", "Read this.")
    asked["parts"].append({"type": "file", "mediaType": "text/plain", "url": url, "filename": "a.txt"})
    chat = f"repeat-{either.port}"
    async with either.api() as api:
        answers = [
            (await api.post("/api/ai/chat", json={"id": chat, **body})).text
            for body in ({"messages": [asked]}, {"message": asked}, {"messages": [user("u0", "x"), asked]})
        ]
    assert len(set(answers)) == 1
    assert len(await history(either, chat)) == 2


async def test_two_tabs_begin_a_chat_at_once(either: Server) -> None:
    async with either.api() as api:
        chat = f"race-{either.port}"
        bodies = [{"id": chat, "messages": [user(f"u{n}", f"q{n}")]} for n in range(4)]
        answers = await asyncio.gather(*(api.post("/api/ai/chat", json=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(await history(either, chat)) == 8


async def test_the_bytes_of_a_stream(parley: Server) -> None:
    """Headers that proxies and tools look at; one line an event, whatever the text has."""
    async with parley.api() as api:
        body = {"id": "bytes", "messages": [user("u1", "a\u2028b\u2029c\x85d\r\ne")]}
        answer = await api.post("/api/ai/chat", json=body)
        nothing = await api.get("/api/ai/chat/bytes/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") and len(event.splitlines()) == 1 for event in events)
    assert (nothing.status_code, nothing.content) == (204, b"")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"id": "u1", "role": "user", "parts": []}]}, "messages"),
        ({"messages": [user("u1", "x") | {"role": "system"}]}, "messages"),
        ({"messages": [user("u1", "x")], "trigger": "other"}, "trigger"),
        ({"messages": [user("u1", "a\0b")]}, "messages"),
        ({"messages": [user("u1", "x")], "id": "a\0b"}, "id"),
        ({"messages": [user("u" * 300, "x")]}, "messages.id"),
        ({"messages": [*[{}] * 2000, user("u1", "x")], "messageId": "none"}, "messages"),
        ({"messages": [user("u0", "x") | {"metadata": [0] * 170_000}, user("u1", "x")]}, "messages"),
        ({"messages": [{"id": "u1", "role": "user", "parts": [{"type": "tool-x"}]}]}, "parts[0].type"),
    ],
)
async def test_what_cannot_be_is_refused(parley: Server, body: dict[str, Any], field: str) -> None:
    async with parley.api() as api:
        refused = await api.post("/api/ai/chat", json={"id": "refused", **body})
        assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (422, field)
        assert (await api.get("/api/chat/sessions/refused")).status_code == 404


async def test_what_is_too_much_is_refused(parley: Server) -> None:
    """All of a page's messages may come along; the one that counts is as long as at every door."""
    async with parley.api() as api:
        long = [user(f"u{n}", "x" * 100_000) for n in range(10)]
        assert (
            await api.post("/api/ai/chat", json={"id": "l", "messages": [*long, user("u", "y")]})
        ).is_success
        for body in (
            [user("u1", "x" * 300_000)],
            [user("u1", "x") | {"metadata": {"a": "x" * 300_000}}],
            [user(f"u{n}", "x" * 100_000) for n in range(50)],
        ):
            refused = await api.post("/api/ai/chat", json={"id": "too-long", "messages": body})
            assert refused.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"
        deep = '{"id": "d", "messages": [' + "[" * 100_000 + "]" * 100_000 + "]}"
        assert (await api.post("/api/ai/chat", content=deep)).status_code == 422
        for sdk in ("4", "8", "x"):
            wrong = await api.post(f"/api/ai/chat?sdk={sdk}", json={"id": "d", "messages": [user("u", "y")]})
            assert wrong.json()["error"]["details"]["field"] == "sdk"

"""Files are questions, too: what models are told of them, and how they are answered."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from events.agents.attachments import KEPT, MOST_HELD, MOST_TEXT, TWICE, Attachment, ModelFiles
from events.agents.config import checked
from events.agents.openai import OpenAI
from events.agents.prompt import Prompt, conversation
from events.schema import File, FileInfo, Message
from server.imaging import Thumbnailer
from storage.errors import StorageUnavailable
from tests.agents.shapes.refusal import error
from tests.agents.shapes.responses import COMPLETED, said, stream
from tests.agents.test_openai import collect, openai_session, request
from tests.agents.test_openai import said as message
from tests.agents.upstream import Plan, Upstream, answer, lines, piece, refusal, upstream
from tests.files.pictures import png
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server

GIB = 1 << 30


class Contents:
    """Files by their ids; each counts how often it is read."""

    def __init__(self, **files: bytes) -> None:
        self.files, self.reads = files, dict.fromkeys(files, 0)

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        if key == "away":
            raise StorageUnavailable("away")
        content = self.files[key]
        self.reads[key] += 1
        yield content[start:stop]


def of_file(file_id: str, media_type: str, words: str = "", name: str = "") -> Message:
    given = message(words)
    part = {"id": "f", "type": "file", "file_id": file_id, "media_type": media_type, "name": name or file_id}
    given.parts = [part]  # type: ignore[list-item]
    given.files = [File(file_id, f"/files/{file_id}", None, FileInfo(name or file_id, media_type, 1))]
    return given


async def told(
    asked: Message, *history: Message, contents: Contents | None = None, **config: Any
) -> tuple[Prompt, ModelFiles]:
    made = request("", *history, **config)
    made.message = asked
    attachments = ModelFiles(contents or Contents(), Thumbnailer(GIB), lambda key: f"https://parley/{key}")
    attached: dict[str, Attachment] = {}
    await attachments.gather(made, checked(made.agent.config), attached)
    return conversation(made, checked(made.agent.config), attached=attached), attachments


def picture_of(url: str) -> Image.Image:
    head, _, content = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


async def test_a_picture_is_told_as_a_small_jpeg_and_made_once() -> None:
    contents = Contents(a=png(3000, 1500))
    asked = of_file("a", "image/png", "what is it?", "big.png")
    prompt, attachments = await told(asked, contents=contents, image_side=500)
    [question] = prompt.messages
    text, picture = question["content"]
    assert text == {"type": "text", "text": "what is it?\n\n[file: big.png, image/png]"}
    shown = picture_of(picture["image_url"]["url"])
    assert (shown.format, shown.size) == ("JPEG", (500, 250))
    assert prompt.tokens > 1000
    made = request("", image_side=500)
    made.message = asked
    for _ in range(3):
        attached: dict[str, Attachment] = {}
        await attachments.gather(made, checked(made.agent.config), attached)
        assert attached["a"].kind == "picture"
    assert contents.reads == {"a": 1}


async def test_what_is_transparent_stands_on_white() -> None:
    made = io.BytesIO()
    Image.new("RGBA", (600, 400), (0, 0, 0, 0)).save(made, "PNG")
    prompt, _ = await told(of_file("a", "image/png"), contents=Contents(a=made.getvalue()))
    shown = picture_of(prompt.messages[0]["content"][1]["image_url"]["url"])
    assert (shown.size, shown.getpixel((300, 200))) == ((600, 400), (255, 255, 255))


async def test_a_text_is_told_within_the_budget() -> None:
    contents = Contents(a="naïve\n".encode(), b=b"x" * 100_000, c="상자".encode("cp949"))
    asked = of_file("a", "text/plain", "look", "a\nb.txt")
    prompt, _ = await told(asked, contents=contents)
    assert prompt.messages[0]["content"] == "look\n\n[file: a b.txt, text/plain]\nnaïve\n"
    prompt, _ = await told(of_file("b", "text/plain"), contents=contents, context_tokens=1000)
    content = prompt.messages[0]["content"]
    assert content.endswith("xx\n[cut]")
    assert 1500 < len(content) < 2100
    prompt, _ = await told(of_file("c", "text/plain; charset=cp949"), contents=contents)
    assert prompt.messages[0]["content"].endswith("\n상자")


async def test_a_pdf_where_the_model_takes_it() -> None:
    contents = Contents(a=b"%PDF-1.7 x", b=b"%PDF" + bytes(4 * 1024 * 1024))
    prompt, _ = await told(of_file("a", "application/pdf", name="a.pdf"), contents=contents, pdf=True)
    address = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 x").decode()
    assert prompt.messages[0]["content"][1] == {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": address},
    }
    for file_id, pdf in (("a", False), ("b", True)):
        prompt, _ = await told(of_file(file_id, "application/pdf"), contents=contents, pdf=pdf)
        assert prompt.messages[0]["content"] == f"[file: {file_id}, application/pdf]"


async def test_what_cannot_be_told_is_named() -> None:
    contents = Contents(a=png(), b=b"no picture")
    for asked, config in (
        (of_file("a", "image/png"), {"files": "name"}),
        (of_file("a", "image/png"), {"max_files": 0}),
        (of_file("a", "image/png"), {"context_tokens": 900}),
        (of_file("a", "application/zip"), {}),
        (of_file("gone", "image/png"), {}),
        (of_file("away", "image/png"), {}),
        (of_file("b", "image/png"), {}),
    ):
        prompt, _ = await told(asked, contents=contents, **config)
        [question] = prompt.messages
        assert question["content"].startswith("[file: "), config
        assert prompt.files == 0


async def test_by_our_own_address() -> None:
    prompt, _ = await told(of_file("a", "image/png"), files="address")
    assert prompt.messages[0]["content"][1]["image_url"] == {"url": "https://parley/a"}


async def test_an_address_elsewhere_is_for_servers_that_may_fetch() -> None:
    asked = message("look")
    part = {"id": "f", "type": "file", "url": "https://a.example/p.png", "media_type": "image/png"}
    asked.parts = [part]  # type: ignore[list-item]
    prompt, _ = await told(asked)
    assert prompt.messages[0]["content"] == "look\n\n[file: https://a.example/p.png, image/png]"
    prompt, _ = await told(asked, files="address")
    assert prompt.messages[0]["content"][1]["image_url"] == {"url": "https://a.example/p.png"}


async def test_the_newest_files_of_a_conversation() -> None:
    """Files of earlier questions stay in the conversation, by their content as far as they may."""
    contents = Contents(**{f"f{number}": b"n%d" % number for number in range(5)})
    history = [of_file(f"f{number}", "text/plain") for number in range(4)]
    prompt, _ = await told(
        of_file("f4", "text/plain"), *history, contents=contents, max_files=3, turns="alternate"
    )
    [question] = prompt.messages
    assert question["content"].split("\n\n") == [
        "[file: f0, text/plain]", "[file: f1, text/plain]", "[file: f2, text/plain]\nn2",
        "[file: f3, text/plain]\nn3", "[file: f4, text/plain]\nn4",
    ]  # fmt: skip
    contents = Contents(a=png(), b=png())
    files = [of_file("a", "image/png", "one"), message("two"), of_file("b", "image/png", "three")]
    prompt, _ = await told(message("four"), *files, contents=contents, turns="alternate")
    [question] = prompt.messages
    text, *pictures = question["content"]
    assert [part["type"] for part in pictures] == ["image_url", "image_url"]
    assert text["text"].split("\n\n") == [
        "one", "[file: a, image/png]", "two", "three", "[file: b, image/png]", "four",
    ]  # fmt: skip


async def test_what_is_kept_small_has_a_bound() -> None:
    class Large:
        async def shown_to_models(self, *_: Any) -> bytes:
            return bytes(3 * 1024 * 1024)

    attachments = ModelFiles(Contents(), Large())
    for number in range(9):
        made = request("")
        made.message = of_file(f"{number}", "image/png")
        await attachments.gather(made, checked(made.agent.config), {})
    assert sum(map(len, attachments._kept.values())) <= KEPT


async def test_what_answers_hold_of_files_is_bounded_by_account() -> None:
    """One who has many open answers is told of by names; a neighbour is not."""
    contents = Contents(a=b"x" * MOST_TEXT)
    attachments = ModelFiles(contents, Thumbnailer(GIB))

    async def told_to(sender: str) -> tuple[Any, dict[str, Attachment]]:
        made = request("")
        made.message = of_file("a", "text/plain")
        made.message.sender_id = sender
        attached: dict[str, Attachment] = {}
        await attachments.gather(made, checked(made.agent.config), attached)
        return made, attached

    each = TWICE * MOST_TEXT
    held = [await told_to("alice") for _ in range(MOST_HELD // each)]
    told_by_content = [attached for _, attached in held if attached]
    assert MOST_HELD // 6 < len(told_by_content) * each <= MOST_HELD // 4
    assert (await told_to("bob"))[1]
    for made, attached in held:
        attachments.drop(made, attached)
    assert (await told_to("alice"))[1]


# --- models that take none


def takes_no_pictures(body: bytes, status: int = 400) -> Any:
    def choose(asked: dict[str, Any]) -> Plan:
        told = asked.get("messages") or asked["input"]
        if any(isinstance(each["content"], list) and each["role"] == "user" for each in told):
            return refusal(status, body=body)
        return answer("yes") if "messages" in asked else lines(stream(*said(0, "yes"), COMPLETED))

    return choose


REFUSALS = {
    "OpenRouter": (404, error("No endpoints found that support image input", code=404)),
    "vLLM": (400, error("tiny is not a multimodal model", type="BadRequestError", code=400)),
    "OpenAI": (400, error("Invalid content type. image_url is only supported by certain models.")),
    "llama.cpp": (500, error("image input is not supported - hint: if this is unexpected, you may need to "
                             "provide the mmproj", code=500, type="server_error")),
    "DeepSeek": (400, error("Failed to deserialize the JSON body into the target type: messages[0]: unknown "
                            "variant `image_url`, expected `text`")),
    "Groq": (400, error("messages[0].content must be a string")),
    "Z.ai": (400, error("messages.content.type is invalid, allowed values: ['text']")),
}  # fmt: skip


@pytest.fixture
async def kind_with_files() -> AsyncIterator[OpenAI]:
    attachments = ModelFiles(Contents(a=png()), Thumbnailer(GIB))
    made = OpenAI({"TEST_API_KEY": "sk-1"}.get, first_wait=0.01)
    made.take_files(attachments)
    yield made
    await made.close()


def about_a(served: Upstream, **config: Any) -> Any:
    made = request("", base_url=served.url, first_token_timeout=5, timeout=5, **config)
    made.message = of_file("a", "image/png", "what is it?")
    return made


@pytest.mark.parametrize("server", REFUSALS)
async def test_a_model_without_eyes_is_learnt(kind_with_files: OpenAI, server: str) -> None:
    status, body = REFUSALS[server]
    async with upstream() as served:
        served.choose = takes_no_pictures(body, status)
        for requests in (2, 3):
            assert (await collect(kind_with_files, about_a(served)))[0] == "yes"
            assert len(served.asked) == requests
    assert served.asked[-1]["messages"][-1]["content"] == "what is it?\n\n[file: a, image/png]"


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_refusal_in_words_that_nobody_knows(kind_with_files: OpenAI, api: str) -> None:
    """The answer comes without the file. The next one is asked with it again."""
    async with upstream() as served:
        served.choose = takes_no_pictures(error("what a strange request"), 422)
        for requests in (2, 4):
            assert (await collect(kind_with_files, about_a(served, api=api)))[0] == "yes"
            assert len(served.asked) == requests


async def test_a_response_is_asked_about_a_picture(kind_with_files: OpenAI) -> None:
    async with upstream(lines(stream(*said(0, "a box"), COMPLETED))) as served:
        assert (await collect(kind_with_files, about_a(served, api="responses")))[0] == "a box"
    [text, picture] = served.asked[0]["input"][0]["content"]
    assert text == {"type": "input_text", "text": "what is it?\n\n[file: a, image/png]"}
    assert (picture["type"], picture["detail"]) == ("input_image", "auto")
    assert picture_of(picture["image_url"]).size == (64, 48)


# --- through the server


@pytest.fixture(scope="module")
def node(shared_server: Server) -> Server:
    return shared_server


async def upload(node: Server, session_id: str, content: bytes, **fields: str) -> dict[str, Any]:
    async with node.api("alice") as api:
        path = f"/api/chat/sessions/{session_id}/files"
        done = await api.post(path, files={"file": ("a.png", content)}, data=fields)
        assert done.status_code == 201, done.text
        made: dict[str, Any] = done.json()
        return made


async def ended(door: Door, message_id: str) -> dict[str, Any]:
    start = await door.wait_event("stream_start", lambda e: e["reply_to"] == message_id)
    return await door.wait_event("stream_end", lambda e: e["message_id"] == start["message_id"])


async def test_each_way_to_give_a_file_is_a_question(node: Server) -> None:
    async with upstream(answer("a box")) as served:
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            done = await upload(node, session_id, png(2000, 1000), message="what is it?")
            assert (await ended(alice, done["message_id"]))["status"] == "complete"
            done = await upload(node, session_id, png(10, 10))
            assert (await ended(alice, done["message_id"]))["status"] == "complete"
            held = await upload(node, session_id, png(20, 10), post="false")
            reply = await alice.call("file", file_id=held["file_id"], message="and that?")
            assert (await ended(alice, reply["message_id"]))["status"] == "complete"
            held = await upload(node, session_id, png(30, 10), post="false")
            parts = [{"type": "text", "text": "last"}, {"type": "file", "file_id": held["file_id"]}]
            reply = await alice.call("message", parts=parts)
            assert (await ended(alice, reply["message_id"]))["status"] == "complete"
    told = [each["content"] for each in served.asked[-1]["messages"]]
    assert told[1::2] == ["a box"] * 3
    assert [content[0]["text"] for content in told[::2]] == [
        "what is it?\n\n[file: a.png, image/png]", "[file: a.png, image/png]",
        "and that?\n\n[file: a.png, image/png]", "last\n\n[file: a.png, image/png]",
    ]  # fmt: skip
    sizes = [picture_of(content[1]["image_url"]["url"]).size for content in told[::2]]
    assert sizes == [(1024, 512), (10, 10), (20, 10), (30, 10)]


async def test_a_file_that_asks_nothing(node: Server) -> None:
    async with upstream(answer("yes")) as served:
        session_id = await openai_session(node, served)
        async with enter("websocket", node, "alice", session_id) as alice:
            await upload(node, session_id, png(), reply="false")
            held = await upload(node, session_id, png(), post="false")
            await alice.call("file", file_id=held["file_id"], reply=False)
            asked = await alice.message("and now?")
            await ended(alice, asked["message_id"])
            assert len(alice.named("stream_start")) == 1
    assert len(served.asked) == 1
    assert [each["role"] for each in served.asked[0]["messages"]] == ["user"] * 3


@pytest.mark.parametrize("named", ["another's", "no key at all"])
async def test_a_stream_tells_models_of_no_file_that_is_not_its_own(node: Server, named: str) -> None:
    """Its parts name whatever their sender likes."""
    others = await new_session(node)
    held = await upload(node, others, b"for others alone", post="false")
    file_id = held["file_id"] if named == "another's" else "../of/the/house"
    part = {"type": "file", "id": "f", "file_id": file_id, "media_type": "text/plain", "name": "a.txt"}
    async with upstream(answer("yes")) as served:
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            start = await alice.call("stream_start")
            assert (await alice.call("stream_part", message_id=start["message_id"], part=part))["ok"]
            assert (await alice.call("stream_end", message_id=start["message_id"]))["ok"]
            asked = await alice.message("what is in it?")
            assert (await ended(alice, asked["message_id"]))["status"] == "complete"
    told = [each["content"] for each in served.asked[0]["messages"]]
    assert told == ["[file: a.txt, text/plain]", "what is in it?"]


async def test_the_echo_of_a_file_is_its_name(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    async with enter("socketio", node, "alice", session_id) as alice:
        done = await upload(node, session_id, png())
        await ended(alice, done["message_id"])
        assert "".join(each["content"] for each in alice.named("stream_chunk")) == "a.png"


async def test_an_address_needs_one_of_the_service(node: Server) -> None:
    body = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "files": "address"}
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "x", "kind": "openai", "config": body})
        assert made.status_code == 422, made.text
        assert "PUBLIC_URL" in made.text


async def test_an_address_is_readable_without_a_token(sqlite_url: str, new_server: Any) -> None:
    node = new_server(sqlite_url, PUBLIC_URL="https://chat.example", CORS_ORIGINS='["https://x.example"]')
    async with upstream(answer("yes")) as served:
        session_id = await openai_session(node, served, files="address")
        async with enter("websocket", node, "alice", session_id) as alice:
            done = await upload(node, session_id, png())
            await ended(alice, done["message_id"])
        url = served.asked[0]["messages"][0]["content"][1]["image_url"]["url"]
        assert url.startswith("https://chat.example/files/file_")
        async with node.api(None) as api:
            got = await api.get(url.removeprefix("https://chat.example"))
            assert (got.status_code, got.content) == (200, png())


# --- what is said meanwhile


async def test_an_open_answer_and_changes_are_in_the_conversation(node: Server) -> None:
    going = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await answer_begun(writer)
        await going.wait()

    async with upstream() as served:
        served.choose = lambda body: slowly if body["messages"][-1]["content"] == "one" else answer("two")
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            said = [await alice.message(text, reply=False) for text in ("first", "second", "third")]
            await alice.message("one")
            await alice.wait_event("stream_chunk", lambda e: "begun" in e["content"])
            await alice.call("edit", message_id=said[0]["message_id"], content="changed")
            await alice.call("delete", message_id=said[1]["message_id"])
            asked = await alice.message("and?", when_busy="parallel")
            await ended(alice, asked["message_id"])
            going.set()
    assert [(each["role"], each["content"]) for each in served.asked[-1]["messages"]] == [
        ("user", "changed"), ("user", "third"), ("user", "one"), ("assistant", "begun"), ("user", "and?"),
    ]  # fmt: skip


async def answer_begun(writer: asyncio.StreamWriter) -> None:
    await lines(piece("begun"), ends=False)(writer)
    await writer.drain()

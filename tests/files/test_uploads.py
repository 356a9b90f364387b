"""What comes in: every hostile upload is a typed refusal or a safe stored name, in bounded memory."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.files.conftest import Storage
from tests.files.pictures import HTML, PDF, POLYGLOTS, SVG, bomb, jpeg, png, text_bomb

MIB = 1024 * 1024
pytestmark = pytest.mark.timeout(120)


async def session(api: httpx.AsyncClient) -> str:
    answer = await api.post("/api/chat/sessions", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


async def upload(
    api: httpx.AsyncClient, room: str, content: bytes, name: str = "a.txt", **fields: str
) -> httpx.Response:
    return await api.post(
        f"/api/chat/sessions/{room}/files", files={"file": (name, content)}, data=fields or None
    )


def refusal(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert answer.status_code >= 400
    assert error["message"]
    return str(error["code"])


async def test_an_upload_is_a_message_and_a_download(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        picture = jpeg()
        answer = await upload(api, room, picture, "sunset.jpg", message="look")
        assert answer.status_code == 201, answer.text
        done = answer.json()
        assert done["file_info"] == {"name": "sunset.jpg", "type": "image/jpeg", "size": len(picture)}
        history = (await api.get(f"/api/chat/sessions/{room}/messages")).json()["messages"]
        assert [(m["message_id"], m["message_type"], m["content"]) for m in history] == [
            (done["message_id"], "file", "look")
        ]
        assert history[0]["files"][0]["file_id"] == done["file_id"]
        got = await api.get(done["file_url"])
        assert got.content == picture
        assert got.headers["content-type"] == "image/jpeg"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-disposition"].startswith("inline")
        small = await api.get(done["thumbnail_url"])
        assert small.headers["content-type"] == "image/webp"
        assert small.content[8:12] == b"WEBP"
        assert storage.contents() >= {done["file_id"], f"{done['file_id']}.thumb"}


async def test_names_are_shown_safely_and_never_used(storage: Storage) -> None:
    names = {
        "../../../etc/passwd": "passwd",
        "..\\..\\boot.ini": "boot.ini",
        "/etc/cron.d/x": "x",
        "nul\0byte.txt": "nulbyte.txt",
        "a\r\nSet-Cookie: x=1.txt": "aSet-Cookie: x=1.txt",
        "..": "file",
        "": "file",
        "gpj.\u202etxt": "gpj.txt",
        "보고서 최종.txt": "보고서 최종.txt",
        f"{'n' * 5000}.txt": f"{'n' * 251}.txt",
    }
    async with storage.server.api("alice") as api:
        room = await session(api)
        for given, shown in names.items():
            raw = given.replace("\\", "\\\\").replace('"', '\\"').encode().replace(b"\r\n", b"%0D%0A")
            body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + raw
            body += b'"\r\n\r\nhello\r\n--b--\r\n'
            answer = await api.post(
                f"/api/chat/sessions/{room}/files",
                content=body,
                headers={"Content-Type": "multipart/form-data; boundary=b"},
            )
            if answer.status_code != 201:
                assert refusal(answer) == "VALIDATION_ERROR", given
                continue
            done = answer.json()
            if "%0D" not in shown and "\r" not in given:
                assert done["file_info"]["name"] == shown
            got = await api.get(done["file_url"])
            assert got.text == "hello"
            assert got.headers["content-disposition"].startswith("attachment; ")
            assert "\n" not in got.headers["content-disposition"]
        assert all(re.fullmatch(r"file_[0-9a-f]{32}(\.thumb)?", key) for key in storage.contents())
        assert storage.outside() == set()


async def test_what_could_run_is_never_served_inline(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        for name, content in {"a.svg": SVG, "a.html": HTML, **POLYGLOTS}.items():
            answer = await upload(api, room, content, name)
            if answer.status_code != 201:
                assert refusal(answer) == "UNSUPPORTED_FILE_TYPE", name
                continue
            assert answer.json()["file_info"]["type"] == "text/plain", name
            got = await api.get(answer.json()["file_url"])
            assert got.headers["content-type"].startswith("text/plain"), name
            assert got.headers["content-disposition"].startswith("attachment"), name
            assert got.headers["x-content-type-options"] == "nosniff", name
            assert "sandbox" in got.headers["content-security-policy"], name
        pdf = (await upload(api, room, PDF, "a.pdf")).json()
        assert pdf["file_info"]["type"] == "application/pdf"
        # A picture is what it says, whatever its name says.
        page = (await upload(api, room, png(), "page.html")).json()
        assert page["file_info"]["type"] == "image/png"
        assert (await api.get(page["file_url"])).headers["content-type"] == "image/png"


async def test_bombs_are_refused_in_bounded_memory(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        assert (await upload(api, room, png(), "a.png")).status_code == 201
        before, keys = storage.resident(), storage.contents()
        answer = await upload(api, room, bomb(), "b.png")
        assert refusal(answer) == "PAYLOAD_TOO_LARGE"
        # Sound but for what it would unpack to: kept, or not, but never unpacked.
        answer = await upload(api, room, text_bomb(), "c.png")
        assert answer.status_code in (201, 413, 415)
        assert storage.resident() - before < 32 * MIB
        assert len(storage.contents() - keys) <= 2


async def _zeros(size: int) -> AsyncIterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\n\r\n'
    piece = b"0" * (256 * 1024)
    for _ in range(size // len(piece)):
        yield piece
    yield b"\r\n--b--\r\n"


MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


async def test_a_gigabyte_at_a_limit_of_ten_megabytes(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        assert (await upload(api, room, b"warm", "a.txt")).status_code == 201
        before, keys = storage.resident(), storage.contents()
        peak = before

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, storage.resident())
                await asyncio.sleep(0.02)

        watcher = asyncio.create_task(watch())
        path = f"/api/chat/sessions/{room}/files"
        answer = await api.post(path, content=_zeros(1024 * MIB), headers=MULTIPART)
        assert refusal(answer) == "PAYLOAD_TOO_LARGE"
        # The same with its length told in advance: refused before it is read.
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.headers['Authorization']}\r\n"
        head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {1024 * MIB}\r\n\r\n"
        told = await _sent_raw(storage, head, b"", close=False)
        assert b"PAYLOAD_TOO_LARGE" in told
        # At the limit, ten at a time.
        whole = [api.post(path, content=_zeros(9 * MIB), headers=MULTIPART) for _ in range(10)]
        assert {answer.status_code for answer in await asyncio.gather(*whole)} == {201}
        watcher.cancel()
        assert peak - before < 32 * MIB, f"{(peak - before) / MIB:.0f} MiB"
        assert len(storage.contents() - keys) == 10
        assert not [key for key in storage.contents() if not key.startswith("file_")]


async def _sent_raw(storage: Storage, head: str, body: bytes, *, close: bool) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", storage.server.port)
    writer.write(head.encode() + body)
    await writer.drain()
    if close:
        writer.write_eof()
    answer = b""
    try:
        async with asyncio.timeout(15):
            # Until the end of the JSON body, or of the connection.
            while not answer.endswith(b"}") and (piece := await reader.read(65536)):
                answer += piece
        return answer
    finally:
        writer.close()


async def test_truncated_and_mismatched_bodies_leave_nothing(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        keys = storage.contents()
        path = f"/api/chat/sessions/{room}/files"
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        flag = b'--b\r\nContent-Disposition: form-data; name="post"\r\n\r\n'
        bodies: dict[str, bytes] = {
            "cut in the file": part + b"hello",
            "cut in the headers": part[:40],
            "nothing": b"",
            "no file": b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
            "no file name": b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n1\r\n--b--\r\n',
            "no multipart": b"hello there",
            "empty file": part + b"\r\n--b--\r\n",
            "two files": part + b"one\r\n" + part + b"two\r\n--b--\r\n",
            "bad flag": part + b"one\r\n" + flag + b"x\r\n--b--\r\n",
            "another boundary": part.replace(b"--b", b"--c") + b"hello\r\n--c--\r\n",
            "cut in the end": part + b"hello\r\n--b",
        }
        for what, body in bodies.items():
            answer = await api.post(path, content=body, headers=MULTIPART)
            assert refusal(answer) == "VALIDATION_ERROR", what
        for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300):
            answer = await api.post(path, content=part, headers={"Content-Type": kind})
            assert refusal(answer) == "VALIDATION_ERROR", kind
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.headers['Authorization']}\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\n"
        # More promised than sent: the connection ends, nothing is stored. Less promised: cut off there.
        await _sent_raw(storage, f"{head}Content-Length: 100000\r\n\r\n", part + b"hello", close=True)
        got = await _sent_raw(
            storage, f"{head}Content-Length: {len(part)}\r\n\r\n", part + b"x" * 99, close=False
        )
        assert got.startswith(b"HTTP/1.1 4")
        assert (await api.get(f"/api/chat/sessions/{room}/messages")).json()["messages"] == []
        await _until(lambda: storage.contents() == keys)


async def _until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def test_post_false_waits_for_the_command(storage: Storage) -> None:
    async with storage.server.api("alice") as api, storage.server.api("bob") as bob:
        room = await session(api)
        done = (await upload(api, room, b"hello", post="false")).json()
        assert done["message_id"] is None
        path = f"/api/chat/sessions/{room}/messages"
        assert (await api.get(path)).json()["messages"] == []
        await api.put(f"/api/chat/sessions/{room}/participants/bob", json={"role": "member"})
        # Another member's upload is not one's own to post.
        answer = await bob.post(f"/api/chat/sessions/{room}/file", json={"file_id": done["file_id"]})
        assert refusal(answer) == "FILE_NOT_FOUND"
        command = {"file_id": done["file_id"], "message": "now"}
        answer = await api.post(f"/api/chat/sessions/{room}/file", json=command)
        assert answer.status_code == 200, answer.text
        assert refusal(await api.post(f"/api/chat/sessions/{room}/file", json=command)) == "FILE_NOT_FOUND"
        (message,) = (await api.get(path)).json()["messages"]
        assert message["files"][0]["file_id"] == done["file_id"]


async def test_who_may_upload(storage: Storage) -> None:
    async with storage.server.api("alice") as api, storage.server.api("bob") as bob:
        room = await session(api)
        assert refusal(await upload(bob, room, b"hi")) == "SESSION_NOT_FOUND"
        await api.put(f"/api/chat/sessions/{room}/participants/bob", json={"role": "viewer"})
        assert refusal(await upload(bob, room, b"hi")) == "FORBIDDEN"
        await api.delete(f"/api/chat/sessions/{room}")
        assert refusal(await upload(api, room, b"hi")) == "SESSION_ARCHIVED"
    async with storage.server.api(None) as nobody:
        assert refusal(await upload(nobody, room, b"hi")) == "UNAUTHORIZED"


@pytest.fixture(autouse=True)
def nothing_outside(storage: Storage) -> Iterator[None]:
    yield
    found: set[Path] = storage.outside()
    assert found == set()

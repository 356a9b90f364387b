"""What goes out, to whom, for how long; and what goes away."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from events.filecare import FileCare
from server.downloads import EACH
from storage.blobs.local import LocalBlobs
from storage.blobs.s3 import S3Blobs
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.interfaces import BlobStore
from tests.engine.kit import Raw
from tests.files.conftest import Storage
from tests.files.pictures import png
from tests.files.test_uploads import _until, refusal, session, upload
from tests.storage.conftest import StillClock, Store, file_parts
from tests.support.server import Server

TEXT = bytes(range(32, 127)) * 10_000


async def test_ranges_and_tags(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        room = await session(api)
        url = (await upload(api, room, TEXT)).json()["file_url"]
        whole = await api.get(url)
        assert whole.content == TEXT
        size = len(TEXT)
        expected = {
            "bytes=0-9": (206, TEXT[:10], f"bytes 0-9/{size}"),
            "bytes=300000-": (206, TEXT[300_000:], f"bytes 300000-{size - 1}/{size}"),
            "bytes=-5": (206, TEXT[-5:], f"bytes {size - 5}-{size - 1}/{size}"),
            f"bytes=10-{size * 2}": (206, TEXT[10:], f"bytes 10-{size - 1}/{size}"),
            f"bytes=-{size * 2}": (206, TEXT, f"bytes 0-{size - 1}/{size}"),
            f"bytes={size}-": (416, b"", f"bytes */{size}"),
            "bytes=-0": (416, b"", f"bytes */{size}"),
            "bytes=9-1": (200, TEXT, None),
            "bytes=0-1,5-6": (200, TEXT, None),
            "lines=0-1": (200, TEXT, None),
        }
        for asked, (status, content, told) in expected.items():
            got = await api.get(url, headers={"Range": asked})
            assert (got.status_code, got.content, got.headers.get("content-range")) == (
                status,
                content,
                told,
            ), asked
        etag = whole.headers["etag"]
        for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            got = await api.get(url, headers={"If-None-Match": given})
            assert (got.status_code, got.content) == (304, b"")
        assert (await api.get(url, headers={"If-None-Match": '"x"'})).status_code == 200
        stale = {"Range": "bytes=0-1", "If-Range": '"x"'}
        assert (await api.get(url, headers=stale)).status_code == 200
        assert (await api.get(url, headers={**stale, "If-Range": etag})).status_code == 206
        head = await api.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


async def test_who_may_download(storage: Storage) -> None:
    server = storage.server
    async with server.api("alice") as api, server.api("bob") as bob, server.api(None) as nobody:
        room = await session(api)
        done = (await upload(api, room, png(), "a.png")).json()
        urls = [done["file_url"], done["thumbnail_url"]]
        for url in urls:
            assert refusal(await bob.get(url)) == "FILE_NOT_FOUND"
            assert refusal(await nobody.get(url)) == "UNAUTHORIZED"
        address = f"/api/chat/files/{done['file_id']}/url"
        assert refusal(await bob.get(address)) == "FILE_NOT_FOUND"
        await api.put(f"/api/chat/sessions/{room}/participants/bob", json={"role": "viewer"})
        signed = (await bob.get(address)).json()
        for url in (signed["url"], signed["thumbnail_url"]):
            got = await nobody.get(url)
            assert got.status_code == 200
            assert re.match(r"private, max-age=\d+\Z", got.headers["cache-control"])
            # One letter, the other file, the other kind, more time: nothing that was not signed.
            for wrong in (
                url[:-1] + ("A" if url[-1] != "A" else "B"),
                url.replace("expires=", "expires=9"),
                url.replace("/thumb?", "?") if "/thumb?" in url else url.replace("?", "/thumb?"),
                re.sub("signature=.*", "signature=", url),
                re.sub("signature=.*", "signature=%FF%00é", url),
                re.sub("expires=[0-9]+", "expires=x", url),
            ):
                assert refusal(await nobody.get(wrong)) == "FILE_NOT_FOUND", wrong


async def test_downloads_that_nobody_takes_hold_a_share_of_the_node_and_no_file(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    server = new_server(sqlite_url, TRUSTED_PROXIES='["127.0.0.1"]')
    away = {"X-Forwarded-For": "192.0.2.7"}
    async with server.api("alice") as api, server.api(None) as nobody, AsyncExitStack() as opened:
        done = (await upload(api, await session(api), bytes(range(32, 127)) * 40_000)).json()
        signed = (await api.get(f"/api/chat/files/{done['file_id']}/url")).json()["url"]
        target = signed[signed.index("/files/") :]

        async def unread(address: str) -> None:
            raw = await opened.enter_async_context(await Raw.connect(server.port, buffer=4096))
            raw.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
            async with asyncio.timeout(30):
                assert b" 200 " in await raw.reader.readline()

        await unread("198.51.100.1")
        for _ in range(EACH):
            await unread("192.0.2.7")
        assert refusal(await nobody.get(target, headers=away)) == "RATE_LIMIT"
        assert (await nobody.get(target, headers={"X-Forwarded-For": "203.0.113.9"})).status_code == 200
        open_files = [one.path for one in psutil.Process(server.pid).open_files()]
        assert not [path for path in open_files if done["file_id"] in path]
        await opened.aclose()
        async with asyncio.timeout(20):
            while (await nobody.get(target, headers=away)).status_code != 200:
                await asyncio.sleep(0.02)


async def test_a_removed_member_loses_every_address_once_it_ends(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    server = new_server(sqlite_url, FILE_URL_TTL="2")
    async with server.api("alice") as api, server.api("bob") as bob, server.api(None) as nobody:
        room = await session(api)
        done = (await upload(api, room, png(), "a.png")).json()
        await api.put(f"/api/chat/sessions/{room}/participants/bob", json={"role": "member"})
        address = f"/api/chat/files/{done['file_id']}/url"
        signed = (await bob.get(address)).json()
        assert (await nobody.get(signed["url"])).status_code == 200
        await api.delete(f"/api/chat/sessions/{room}/participants/bob")
        for url in (done["file_url"], done["thumbnail_url"], address):
            assert refusal(await bob.get(url)) == "FILE_NOT_FOUND"
        async with asyncio.timeout(15):
            for url in (signed["url"], signed["thumbnail_url"]):
                while (await bob.get(url)).status_code == 200:
                    await asyncio.sleep(0.05)
        for url in (signed["url"], signed["thumbnail_url"]):
            assert refusal(await nobody.get(url)) == "FILE_NOT_FOUND"


async def test_deleted_messages_and_erased_sessions_take_their_files_along(storage: Storage) -> None:
    async with storage.server.api("alice") as api:
        before = storage.contents()
        room = await session(api)
        one = (await upload(api, room, png(), "a.png")).json()
        two = (await upload(api, room, b"two")).json()
        assert len(storage.contents() - before) == 3
        signed = (await api.get(f"/api/chat/files/{one['file_id']}/url")).json()["url"]
        await api.delete(f"/api/chat/sessions/{room}/messages/{one['message_id']}")
        assert refusal(await api.get(one["file_url"])) == "FILE_NOT_FOUND"
        assert refusal(await api.get(signed)) == "FILE_NOT_FOUND"
        await _until(lambda: storage.contents() - before == {two["file_id"]})
        answer = await api.delete(f"/api/chat/sessions/{room}", params={"purge": "true"})
        assert answer.status_code == 200, answer.text
        assert refusal(await api.get(two["file_url"])) == "FILE_NOT_FOUND"
        await _until(lambda: storage.contents() == before)


# What is left behind: over the contents' interface itself, with a clock.


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "local":
        return LocalBlobs(tmp_path / "files")
    endpoint, bucket = request.getfixturevalue("s3")
    return S3Blobs(bucket, endpoint=endpoint, access_key_id="test", secret_access_key="test")


async def _content(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _read(blobs: BlobStore, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.get(key, start, stop)])


async def test_contents_are_whole_or_not_there(blobs: BlobStore) -> None:
    assert await blobs.put("file_a", _content(b"one", b"", b"two"), "text/plain") == 6
    assert await _read(blobs, "file_a") == b"onetwo"
    assert await _read(blobs, "file_a", 2, 4) == b"et"
    assert await _read(blobs, "file_a", 4) == b"wo"
    large = os.urandom(7_000_000)
    assert await blobs.put("file_b", _content(large[:5], large[5:]), "text/plain") == len(large)
    assert await _read(blobs, "file_b") == large

    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        raise LookupError

    with pytest.raises(LookupError):
        await blobs.put("file_c", failing(), "text/plain")
    with pytest.raises(KeyError):
        await _read(blobs, "file_c")
    await blobs.delete(["file_a", "file_b", "file_never"])
    with pytest.raises(KeyError):
        await _read(blobs, "file_a")


async def test_keys_never_lead_outside(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "files")
    for key in ("../x", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a" * 300, ".unfinished"):
        with pytest.raises(ValueError, match="not a key"):
            await blobs.put(key, _content(b"x"), "text/plain")
        with pytest.raises(ValueError, match="not a key"):
            await _read(blobs, key)


async def test_a_folder_that_refuses_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("not a folder")
    with pytest.raises(StorageUnavailable):
        await LocalBlobs(tmp_path / "files").put("file_a", _content(b"x"), "text/plain")
    gone = S3Blobs("contents", endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b")
    with pytest.raises(StorageUnavailable):
        await gone.put("file_a", _content(b"x"), "text/plain")


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    database = Database(sqlite_url)
    await database.connect()
    store = Store(database, StillClock())
    yield store
    await store.close()


async def test_orphans_are_collected(store: Store, blobs: BlobStore) -> None:
    clock, files = store.clock, store.files
    ahead = 0.0
    care = FileCare(files, blobs, lambda: clock().timestamp() + ahead)
    await store.session()
    for name in ("file_old", "file_new", "file_posted"):
        uploaded = clock() - timedelta(hours=25 if name == "file_old" else 1)
        await files.add(store.file(name, uploaded_at=uploaded))
    for name in ("file_old", "file_new", "file_posted", "file_norow", "file_norow.thumb"):
        await blobs.put(name, _content(b"x"), "text/plain")
    await store.say("", message_type="file", parts=file_parts("file_posted"))
    assert await care.collect() == 1
    assert await files.get("file_old") is None
    assert await files.get("file_new") is not None
    assert await care.sweep() == 0
    # A day after the real writing: contents that no row names go.
    ahead = time.time() - clock().timestamp() + 90_000
    assert await care.sweep() == 2
    for name in ("file_old", "file_norow", "file_norow.thumb"):
        with pytest.raises(KeyError):
            await _read(blobs, name)
    for name in ("file_new", "file_posted"):
        assert await _read(blobs, name) == b"x"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_the_upload_bucket(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    server = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    async with server.api("alice") as api:
        room = await session(api)
        answers: list[httpx.Response] = [await upload(api, room, b"x", post="false") for _ in range(22)]
        assert [a.status_code for a in answers[:20]] == [201] * 20
        assert refusal(answers[-1]) == "RATE_LIMIT"
        assert int(answers[-1].headers["retry-after"]) >= 1

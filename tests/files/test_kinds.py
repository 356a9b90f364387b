"""Which files are taken: pictures as phones and browsers make them, texts in the encodings that people have;
and addresses that end."""

import asyncio
import io
from collections.abc import Callable

import pillow_heif
import pytest
from PIL import Image

from events.errors import UnsupportedFileType
from events.filetypes import HEAD, TextCheck, judge
from tests.files.pictures import png
from tests.files.test_uploads import refusal, session, upload
from tests.support.server import Server

pillow_heif.register_heif_opener()

KOREAN = "안녕하세요, 회의록입니다.\r\n내일 오후 세 시.\r\n"


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "media_type", "shown"),
    [
        ("WEBP", "image/webp", "inline"),
        ("GIF", "image/gif", "inline"),
        # Most browsers cannot show it: they have its thumbnail.
        ("HEIF", "image/heic", "attachment"),
    ],
)
async def test_pictures_are_taken_by_default(
    shared_server: Server, kind: str, media_type: str, shown: str
) -> None:
    async with shared_server.api("alice") as api:
        room = await session(api)
        content = picture(kind)
        answer = await upload(api, room, content, "IMG_0001.bin")
        assert answer.status_code == 201, answer.text
        done = answer.json()
        assert done["file_info"]["type"] == media_type
        got = await api.get(done["file_url"])
        assert (got.content, got.headers["content-type"]) == (content, media_type)
        assert got.headers["content-disposition"].startswith(shown)
        small = await api.get(done["thumbnail_url"])
        assert Image.open(io.BytesIO(small.content)).size == (320, 240)
        # Its beginning alone is none.
        broken = await upload(api, room, content[:60], "broken.bin")
        assert refusal(broken) == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
async def test_utf_16_with_its_mark_is_a_text(shared_server: Server, encoding: str) -> None:
    content = (KOREAN if encoding == "utf-16" else "\ufeff" + KOREAN).encode(encoding)
    async with shared_server.api("alice") as api:
        room = await session(api)
        answer = await upload(api, room, content, "memo.txt")
        assert answer.status_code == 201, answer.text
        got = await api.get(answer.json()["file_url"])
        assert got.content == content
        assert (
            got.headers["content-type"] == f"text/plain; charset=utf-16{'be' if 'be' in encoding else 'le'}"
        )
        assert answer.json()["file_info"]["type"] == got.headers["content-type"]
        # Half a character, a NUL, half of a pair: none.
        for wrong in (
            content[:-1],
            content + b"\0\0",
            content + b"\xd8\xd8",
        ):
            assert refusal(await upload(api, room, wrong, "memo.txt")) == "UNSUPPORTED_FILE_TYPE"
        told = await upload(api, room, KOREAN.encode("cp949"), "memo.txt")
        assert "TEXT_ENCODINGS" in told.json()["error"]["message"]


async def test_encodings_by_setting(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, TEXT_ENCODINGS="cp949,utf-16")
    async with node.api("alice") as api:
        room = await session(api)
        plain = "charset=utf-8"
        for content, charset in (
            (KOREAN.encode("cp949"), "charset=euc-kr"),
            ("똠방각하 펲시콜라".encode("cp949"), "charset=euc-kr"),
            (KOREAN.encode("euc-kr"), "charset=euc-kr"),
            # What it is may show late.
            (b"plain words\n" * HEAD + KOREAN.encode("cp949"), "charset=euc-kr"),
            (b"plain words\n" * HEAD + KOREAN.encode(), plain),
            (KOREAN.encode("utf-16-le"), "charset=utf-16le"),
            (KOREAN.encode("utf-16-be"), "charset=utf-16be"),
            (KOREAN.encode(), plain),
        ):
            answer = await upload(api, room, content, "memo.txt")
            assert answer.status_code == 201, answer.text
            got = await api.get(answer.json()["file_url"])
            assert got.content == content
            assert got.headers["content-type"] == f"text/plain; {charset}"
            assert got.headers["content-disposition"].startswith("attachment")
        for wrong in (b"\x7fELF" + bytes(64), bytes(range(256)) * 8, KOREAN.encode("cp949") + b"\0"):
            assert refusal(await upload(api, room, wrong, "memo.txt")) == "UNSUPPORTED_FILE_TYPE"


@pytest.mark.parametrize("piece", [1, 2, 3, 64])
def test_pieces_of_any_size_are_read_as_one(piece: int) -> None:
    for encoding, charset in (
        ("utf-8", ""),
        ("cp949", "; charset=euc-kr"),
        ("utf-16-le", "; charset=utf-16le"),
    ):
        content = KOREAN.encode(encoding)
        text = TextCheck(("cp949", "utf-16"))
        assert all(text.takes(content[at : at + piece]) for at in range(0, len(content), piece))
        assert text.complete()
        assert text.media_type == f"text/plain{charset}"


def test_what_is_claimed_by_a_format_is_no_text() -> None:
    """A signature wins over an encoding in which nearly everything is a text."""
    assert judge(b"BM" + KOREAN.encode("cp949") * 20, whole=True, encodings=("cp949",)) == "image/bmp"
    with pytest.raises(UnsupportedFileType):
        judge(KOREAN.encode("cp949"), whole=True)


async def test_an_address_that_ended_is_renewed_by_whoever_sees_the_session(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, FILE_URL_TTL="1", PUBLIC_URL="https://chat.example.com/talk")

    def here(url: str) -> str:
        assert url.startswith("https://chat.example.com/talk/files/")
        return url.removeprefix("https://chat.example.com")

    async with node.api("alice") as api, node.api(None) as nobody:
        room = await session(api)
        await upload(api, room, png(), "a.png")

        async def signed() -> dict[str, str]:
            """As a page does that has just joined: the session's messages name the file."""
            (message,) = (await api.get(f"/api/chat/sessions/{room}/messages")).json()["messages"]
            address = await api.get(f"/api/chat/files/{message['files'][0]['file_id']}/url")
            found: dict[str, str] = address.json()
            return found

        first = await signed()
        async with asyncio.timeout(15):
            while True:
                ended = await nobody.get(here(first["url"]))
                if ended.status_code != 200:
                    break
        assert refusal(ended) == "FILE_NOT_FOUND"
        assert "/api/chat/files/{file_id}/url" in ended.json()["error"]["message"]
        second = await signed()
        assert second["url"] != first["url"]
        assert second["expires_at"] > first["expires_at"]
        for name in ("url", "thumbnail_url"):
            async with asyncio.timeout(15):  # a slow machine may need several
                while (await nobody.get(here((await signed())[name]))).status_code != 200:
                    pass

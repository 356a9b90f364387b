"""Thumbnails: what is drawn, in how much memory, and in whose turn."""

import asyncio
import io
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from events.errors import PayloadTooLarge, UnsupportedFileType
from server import imaging
from server.app import create_app
from server.config import Settings
from server.imaging import PROGRAM, DecoderSlots, Thumbnailer
from server.memory import available

pillow_heif.register_heif_opener()

MIB = 1 << 20
GIB = 1 << 30


def saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def turned() -> Image.Exif:
    """Says that the picture's top is on its right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def halves(mode: str, size: tuple[int, int] = (1300, 900)) -> Image.Image:
    """Dark on the left, bright on the right."""
    picture = Image.new("L", size, 20)
    picture.paste(230, (size[0] // 2, 0, *size))
    return picture.convert(mode)


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def drawn(content: bytes, media_type: str, memory: int = 4 * GIB) -> Image.Image | None:
    made = await Thumbnailer(memory).make(once(content), media_type, "user:alice")
    return Image.open(io.BytesIO(made)) if made is not None else None


def other_palette() -> Image.Image:
    return halves("L").rotate(180).quantize(16)


PALETTE = halves("RGB").quantize(16)
#: Sixteen bits of grey.
DEEP = Image.frombytes("I;16", (1300, 900), (b"\0\x14" * 650 + b"\0\xe6" * 650) * 900)


@pytest.mark.parametrize(
    ("made", "media_type"),
    [
        (lambda: saved(halves("RGB"), "HEIF"), "image/heic"),
        (lambda: saved(halves("RGBA"), "HEIF"), "image/heic"),
        (lambda: saved(halves("RGB"), "JPEG"), "image/jpeg"),
        (lambda: saved(halves("RGB"), "JPEG", progressive=True), "image/jpeg"),
        (lambda: saved(halves("CMYK"), "JPEG"), "image/jpeg"),
        (lambda: saved(halves("L"), "JPEG"), "image/jpeg"),
        (lambda: saved(halves("RGBA"), "PNG"), "image/png"),
        (lambda: saved(halves("LA"), "PNG"), "image/png"),
        (lambda: saved(halves("1"), "PNG"), "image/png"),
        (lambda: saved(DEEP, "PNG"), "image/png"),
        (lambda: saved(PALETTE, "PNG"), "image/png"),
        (lambda: saved(PALETTE, "PNG", transparency=15), "image/png"),
        (
            lambda: saved(
                PALETTE, "GIF", save_all=True, append_images=[halves("L").rotate(180).quantize(16)]
            ),
            "image/gif",
        ),
        (
            lambda: saved(halves("RGB"), "WEBP", save_all=True, append_images=[halves("RGB").rotate(180)]),
            "image/webp",
        ),
        (lambda: saved(halves("RGBA"), "WEBP", lossless=True), "image/webp"),
        (lambda: saved(halves("RGB"), "BMP"), "image/bmp"),
        (
            lambda: saved(halves("RGB"), "TIFF", save_all=True, append_images=[halves("RGB").rotate(180)]),
            "image/tiff",
        ),
    ],
)
async def test_the_first_frame_of_every_kind(made: Callable[[], bytes], media_type: str) -> None:
    small = await drawn(made(), media_type)
    assert small is not None
    assert small.size == (320, 222)
    grey = small.convert("L")
    assert abs(grey.getpixel((80, 110)) - 20) < 30  # type: ignore[operator]
    assert abs(grey.getpixel((240, 110)) - 230) < 30  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
async def test_what_is_transparent_stays_so(kind: str) -> None:
    picture = Image.new("RGBA", (1300, 900), (200, 30, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 650, 900))
    palette = [saved(picture.quantize(8), kind)] if kind == "PNG" else []
    for content in (saved(picture, kind), *palette):
        small = await drawn(content, f"image/{kind.lower()}")
        assert small is not None
        assert [small.convert("RGBA").getpixel((x, 110))[3] for x in (80, 240)] == [0, 255]  # type: ignore[index]


@pytest.mark.parametrize(
    ("size", "small"),
    [((10, 10), (10, 10)), ((321, 5), (320, 5)), ((40_000, 3), (320, 1)), ((3, 40_000), (1, 320))],
)
async def test_sizes(size: tuple[int, int], small: tuple[int, int]) -> None:
    made = await drawn(saved(Image.new("RGB", size, (9, 200, 9)), "PNG"), "image/png")
    assert made is not None
    assert made.size == small


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
async def test_it_is_upright(kind: str) -> None:
    made = await drawn(saved(halves("RGB"), kind, exif=turned()), f"image/{kind.lower()}")
    assert made is not None
    assert made.size == (222, 320)
    # What was on the left is above.
    assert made.convert("L").getpixel((110, 80)) < made.convert("L").getpixel((110, 240))  # type: ignore[operator]


#: Runs the program, and tells the most that it had: `ru_maxrss` would begin with what its parent has.
RUNNER = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import thumbnail
code = thumbnail.main(sys.argv[1], int(sys.argv[2]), 320, 'WEBP')
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, peak, file=sys.stderr)
"""


def peak(content: bytes, media_type: str, memory: int) -> tuple[int, int]:
    """Exit code of the program, and bytes that it had at its peak."""
    command = [sys.executable, "-I", "-c", RUNNER, media_type, str(memory)]
    one_heap = {"MALLOC_ARENA_MAX": "1"}
    told = subprocess.run(
        command, input=content, capture_output=True, check=True, env=one_heap
    ).stderr.split()
    return int(told[0]), int(told[1]) * 1024


@pytest.mark.parametrize(
    ("mode", "size", "kind", "how", "most"),
    [
        ("RGBA", (5000, 5000), "PNG", {"compress_level": 1}, 150),
        ("RGB", (5000, 10_000), "JPEG", {}, 60),
        ("RGB", (5000, 5000), "JPEG", {"progressive": True, "subsampling": 0}, 190),
        ("RGB", (3000, 4000), "WEBP", {"method": 0}, 240),
        ("L", (5000, 5000), "GIF", {}, 150),
        ("RGB", (3000, 4000), "HEIF", {"quality": 50}, 140),
    ],
)
async def test_the_largest_pictures_stay_small(
    mode: str, size: tuple[int, int], kind: str, how: dict[str, Any], most: int
) -> None:
    content = saved(Image.new(mode, size), kind, exif=turned(), **how)
    media_type = "image/heic" if kind == "HEIF" else f"image/{kind.lower()}"
    code, used = peak(content, media_type, 512 * MIB)
    assert code == 0
    assert used < most * MIB


@pytest.mark.parametrize(
    ("kind", "size", "large"),
    [
        ("PNG", (5000, 5000), False),
        ("PNG", (5001, 5000), True),
        ("JPEG", (5000, 5001), False),
        ("JPEG", (5000, 10_001), True),
        ("WEBP", (5000, 5000), False),
        ("WEBP", (5001, 5000), True),
    ],
)
async def test_with_little_memory_a_sound_picture_is_taken_and_not_drawn(
    kind: str, size: tuple[int, int], large: bool
) -> None:
    content = saved(Image.new("L", size), kind, **({"progressive": True} if kind == "JPEG" else {}))
    media_type = f"image/{kind.lower()}"
    if large:
        with pytest.raises(PayloadTooLarge):
            await drawn(content, media_type, 64 * MIB)
    else:
        assert await drawn(content, media_type, 64 * MIB) is None
        code, used = peak(content, media_type, imaging.LEAST)
        assert code == 5
        assert used < 64 * MIB


async def test_no_picture() -> None:
    for media_type in ("image/png", "image/webp", "image/jpeg", "image/heic"):
        with pytest.raises(UnsupportedFileType):
            await drawn(b"RIFF\0\0\0\0WEBPVP8X" + bytes(40), media_type)


async def test_many_of_one_owner_do_not_hold_up_another() -> None:
    places = DecoderSlots(1)
    order: list[str] = []
    gate = asyncio.Event()

    async def draw(owner: str, name: str) -> None:
        async with places.place(owner):
            order.append(name)
            await gate.wait()
            await asyncio.sleep(0)

    drawing = [asyncio.create_task(draw("alice", f"a{number}")) for number in range(5)]
    await asyncio.sleep(0)
    drawing += [asyncio.create_task(draw("bob", f"b{number}")) for number in range(2)]
    drawing.append(asyncio.create_task(draw("carol", "c0")))
    await asyncio.sleep(0)
    assert order == ["a0"]
    gate.set()
    await asyncio.gather(*drawing)
    assert order == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]


async def test_who_goes_away_takes_no_place_with_him() -> None:
    places = DecoderSlots(1)
    async with places.place("alice"):
        waiting = [asyncio.create_task(places._take(owner)) for owner in ("bob", "carol")]
        await asyncio.sleep(0)
        waiting[0].cancel()
    await waiting[1]  # given to carol when alice left
    late = asyncio.create_task(places._take("dave"))
    await asyncio.sleep(0)
    places._free += 1
    places._next()
    late.cancel()  # between the giving and the taking
    await asyncio.gather(late, return_exceptions=True)
    async with asyncio.timeout(5), places.place("erin"):
        pass


async def test_an_upload_waits_for_its_turn_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "PATIENCE", 0.05)
    thumbnailer = Thumbnailer(1 * GIB)
    async with thumbnailer._places.place("bob"):
        assert await thumbnailer.make(once(saved(halves("RGB"), "PNG")), "image/png", "alice") is None


@pytest.mark.parametrize(
    ("memory", "each", "at_once"),
    [(256 * MIB, 96, 1), (GIB, 341, 1), (2 * GIB, 512, 1), (4 * GIB, 512, 2), (64 * GIB, 512, 2)],
)
def test_what_pictures_may_have(memory: int, each: int, at_once: int) -> None:
    thumbnailer = Thumbnailer(memory)
    assert thumbnailer.memory // MIB == each
    assert thumbnailer._places._free == at_once


@pytest.mark.parametrize(
    ("processes", "each", "at_once"), [(1, 512, 2), (2, 512, 2), (4, 512, 1), (8, 256, 1)]
)
def test_workers_share_the_memory(
    processes: int, each: int, at_once: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("server.memory.available", lambda: 6 * GIB)
    found = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "JWT_SECRET_KEY")}
    found["DATABASE_URL"] = f"sqlite:///{tmp_path}/x.db"
    settings = Settings.load(found, None, data_dir=tmp_path)
    thumbnailer = create_app(settings, processes).state.features.files._thumbnails
    assert thumbnailer.memory // MIB == each
    assert thumbnailer._places._free == at_once


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"memory.max": "max"}, 8 * GIB),
        ("0::/", {"memory.max": "1073741824"}, GIB),
        ("0::/a/b", {"a/memory.max": "536870912", "a/b/memory.max": "max"}, 512 * MIB),
        ("0::/a/b", {"memory.max": "268435456"}, 256 * MIB),
        ("4:memory:/x\n0::/", {"memory/x/memory.limit_in_bytes": "134217728"}, 128 * MIB),
        ("4:cpu,memory:/gone", {"memory/memory.limit_in_bytes": "134217728"}, 128 * MIB),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 8 * GIB),
        ("", {}, 8 * GIB),
    ],
)
def test_memory_that_is_there(groups: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    written = {
        "proc/self/cgroup": groups,
        "proc/meminfo": f"MemTotal:       {8 * GIB // 1024} kB\nMemFree: 1 kB\n",
        **{f"sys/fs/cgroup/{name}": text + "\n" for name, text in files.items()},
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available(tmp_path) == expected

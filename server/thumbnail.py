"""A program of its own: a picture on standard input, a small one on standard output. Imports nothing of
Parley.

Decoders of hostile pictures run here, in bounded memory and time, where a crash or a bomb harms nobody.
Its exit code tells: 0, 3 (no such picture), 4 (too many pixels), 5 (more memory than it may have), anything
else (it cannot be drawn).
"""

import io
import os
import resource
import sys
from typing import Any

MEGAPIXEL = 1_000_000
MAX_PIXELS = {"JPEG": 50 * MEGAPIXEL}
"""Width times height. A larger one, a few KiB on the wire, would unpack to 200 MB or more wherever it is
shown."""
MAX_PIXELS_OTHERS = 25 * MEGAPIXEL
"""All but a JPEG are decoded as a whole before they are made smaller."""
SIDE = 320
"""Of a thumbnail. Its memory is in `BASE`."""
CPU_SECONDS = 5

BASE = 48 << 20
"""Address space that the interpreter and the libraries take before a picture is read."""
PER_PIXEL = {"PNG": 4, "GIF": 4, "BMP": 4, "TIFF": 8, "WEBP": 16, "AVIF": 16, "HEIF": 7}
"""Bytes that a decoder holds at its peak: WebP's two canvases, a copy of one, and the picture; a
TIFF's strip may be all of it; HEIF's planes, their conversion, and the picture."""
HEIF_LIBRARIES = 40 << 20
"""Address space that the codecs of the extra `heic` take."""
PER_COEFFICIENT = 2
"""Bytes that a progressive JPEG's decoder holds for each pixel of each colour, however small it is drawn."""
TILE = 1024
"""Side of the pieces in which a picture is made smaller: each is copied for it."""

FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
}


def main(media_type: str, memory: int, side: int, made: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)

    from PIL import Image

    # Ours is stricter, and refuses instead of warning.
    Image.MAX_IMAGE_PIXELS = None
    content = sys.stdin.buffer.read()
    kind = FORMATS[media_type]
    if kind == "HEIF":
        if BASE + HEIF_LIBRARIES + len(content) > memory:
            return 5
        understand_heif()
    if kind == "WEBP" and BASE + len(content) + webp_pixels(content) * PER_PIXEL[kind] > memory:
        # Opening it takes that already.
        return 4 if webp_pixels(content) > MAX_PIXELS_OTHERS else 5
    try:
        picture = Image.open(io.BytesIO(content), formats=[kind])
    except (OSError, SyntaxError, ValueError, EOFError):  # what the plugins raise at a header that lies
        return 3
    width, height = picture.size
    if width * height > MAX_PIXELS.get(kind, MAX_PIXELS_OTHERS):
        return 4
    # A JPEG can be decoded at an eighth of its size at once.
    picture.draft("RGB", (side, side))
    if BASE + len(content) + needed(picture, kind, width * height, side) > memory:
        return 5
    out = io.BytesIO()
    small = drawn(picture, side)
    (small if made == "WEBP" else on_white(small)).save(out, made, quality=80)
    sys.stdout.buffer.write(out.getvalue())
    return 0


def understand_heif() -> None:
    """Raises ImportError where the extra `heic` is not installed: then it cannot be drawn."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    # Each thread would have a stack of its own, of the memory that there is.
    pillow_heif.options.DECODE_THREADS = 1


def webp_pixels(content: bytes) -> int:
    """As the container or the one picture in it says (RFC 9649); 0 where neither does."""
    form, bits = content[12:16], int.from_bytes(content[21:25], "little")
    if form == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
    elif form == b"VP8L":
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif form == b"VP8 ":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        return 0
    return width * height


def needed(picture: Any, kind: str, pixels: int, side: int) -> int:
    """Bytes for a picture that had so many pixels before it was drafted, and for the small one."""
    # One less than four times as large as it may be is copied whole before it is made small.
    small = 4 * min(picture.width * picture.height, (4 * side) ** 2) if side > SIDE else 0
    if kind != "JPEG":
        return small + pixels * PER_PIXEL[kind] + (HEIF_LIBRARIES if kind == "HEIF" else 0)
    drafted = small + 4 * picture.width * picture.height
    if "progressive" in picture.info:
        drafted += pixels * PER_COEFFICIENT * picture.layers
    return int(drafted)


def drawn(picture: Any, side: int) -> Any:
    """The first frame, upright, at most `side` wide and high."""
    from PIL import Image, ImageOps

    picture.load()
    mode = "RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB"
    factor = max(1, max(picture.size) // (2 * side))
    step = max(1, TILE // factor) * factor
    width, height = picture.size
    smaller = Image.new(mode, (-(-width // factor), -(-height // factor)))
    for top in range(0, height, step):
        for left in range(0, width, step):
            tile = picture.crop((left, top, min(left + step, width), min(top + step, height)))
            smaller.paste(in_mode(tile, mode).reduce(factor), (left // factor, top // factor))
    smaller.thumbnail((side, side))
    smaller.info["exif"] = picture.info.get("exif") or picture.getexif().tobytes()
    return ImageOps.exif_transpose(smaller)


def on_white(picture: Any) -> Any:
    """A JPEG has no transparency."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def in_mode(tile: Any, mode: str) -> Any:
    if tile.mode.startswith("I;16"):  # as bright in eight bits as it is in sixteen
        tile = tile.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return tile.convert(mode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))

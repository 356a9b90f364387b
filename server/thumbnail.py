"""A program of its own: a picture on standard input, its thumbnail on standard output. Imports none of ours.

Decoders of hostile pictures run here, in bounded memory and time, where a crash or a bomb harms nobody.
Its exit code tells: 0, 3 (no such picture), 4 (too many pixels), anything else (it cannot be drawn).
"""

import io
import os
import resource
import sys

MAX_PIXELS = 50_000_000
"""Width times height. A larger one, a few KiB on the wire, would unpack to 200 MB or more here and wherever
it is shown."""
SIDE = 320
MEMORY = 1 << 30
CPU_SECONDS = 5

FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}


def main(media_type: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)

    from PIL import Image, ImageOps

    # Ours is stricter, and refuses instead of warning.
    Image.MAX_IMAGE_PIXELS = None
    content = sys.stdin.buffer.read()
    try:
        picture = Image.open(io.BytesIO(content), formats=[FORMATS[media_type]])
    except (OSError, SyntaxError, ValueError, EOFError):  # what the plugins raise at a header that lies
        return 3
    width, height = picture.size
    if width * height > MAX_PIXELS:
        return 4
    # A JPEG can be decoded at an eighth of its size at once.
    picture.draft("RGB", (SIDE, SIDE))
    drawn = ImageOps.exif_transpose(picture)
    has_alpha = "A" in drawn.getbands() or "transparency" in drawn.info
    drawn.thumbnail((SIDE, SIDE))
    drawn = drawn.convert("RGBA" if has_alpha else "RGB")
    out = io.BytesIO()
    drawn.save(out, "WEBP", quality=80)
    sys.stdout.buffer.write(out.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

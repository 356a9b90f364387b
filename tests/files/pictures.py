"""Contents for uploads: honest ones, and those that are not what they seem."""

import io
import struct
import zlib

from PIL import Image


def png(width: int = 64, height: int = 48) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


def jpeg(width: int = 640, height: int = 480) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(out, "JPEG")
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few KiB that unpacks to gigabytes."""
    rows = zlib.compressobj(9)
    line = b"\0" * (1 + width // 8)
    body = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG with a compressed text chunk of 200 MB."""
    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(bytes(1 << 20)) for _ in range(200)) + packed.flush()
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(24)) * 8)
    parts = [
        _chunk(b"IHDR", header),
        _chunk(b"zTXt", b"c\0\0" + body),
        _chunk(b"IDAT", rows),
        _chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SVG = b"""<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>"""
HTML = b"<!doctype html><script>alert(1)</script>"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
#: Each a browser could be talked into running.
POLYGLOTS = {
    "gif-script": b"GIF89a/*\x00\x00*/=alert(1)//",
    "gif-text": b"GIF89a/*abc*/=alert(1)//",
    "jpeg-html": b"\xff\xd8\xff\xe0" + HTML,
    "png-html": b"\x89PNG\r\n\x1a\n" + HTML,
    "bmp-script": b"BM=1/*" + b"x" * 50 + b"*/;alert(1)",
    "elf": b"\x7fELF" + bytes(64),
    "windows-program": b"MZ\x90\x00" + bytes(64),
    "zip": b"PK\x03\x04" + bytes(64),
    "html-with-nul": HTML + b"\0",
    "latin-1": "é".encode("latin-1") * 20,
}

"""Which part of its message a piece of a stream is. No command says it, so nodes of the simulation do: every
other stream is plain, and whoever goes on with a stream finds the same parts."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

from storage.pieces import OWN, WHOLE

PARTS = (OWN, OWN, "thought", f"{WHOLE}tool")


def piece(stream: str, at: int) -> str:
    return f"{stream}.{at} "


def part_of(stream: str, at: int) -> str:
    """Often the same for two neighbours."""
    chosen = crc32(f"{stream}.{at // 2}".encode())
    return PARTS[chosen % len(PARTS)] if crc32(stream.encode()) % 2 else OWN


def in_parts(chunk: Callable[..., int]) -> Callable[..., int]:
    def chunk_of_a_part(stream: Any, content: str, *more: Any) -> int:
        name, _, at = content.strip().rpartition(".")
        return chunk(stream, content, *more, part=part_of(name, int(at)))

    return chunk_of_a_part

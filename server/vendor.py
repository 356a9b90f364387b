"""Files of published packages that the server passes on: those of `web/vendor.json`, if their hashes match.

A page that can mint tokens runs them. Knows no registry: `scripts/fetch_client.py` fetches.
"""

import asyncio
import base64
import hashlib
import hmac
from functools import cache
from pathlib import Path

import msgspec
import structlog

LIST = Path(__file__).resolve().parent / "web" / "vendor.json"

log = structlog.get_logger("parley.vendor")


def integrity(content: bytes, kind: str = "sha512") -> str:
    """Its hash, as in SRI (W3C, Subresource Integrity)."""
    return f"{kind}-{base64.b64encode(hashlib.new(kind, content).digest()).decode()}"


class Pin(msgspec.Struct, frozen=True):
    """One file: the package and version that it is from, where it lies there, and its hash (as in SRI)."""

    package: str
    version: str
    path: str
    integrity: str

    def fits(self, content: bytes) -> bool:
        return hmac.compare_digest(integrity(content), self.integrity)


@cache
def pins() -> dict[str, Pin]:
    return msgspec.json.decode(LIST.read_bytes(), type=dict[str, Pin])


class Vendor:
    """The files in `folder`, where `make run` puts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def look(self) -> None:
        """At each start: the log names files that do not match now, not when somebody misses them."""
        for name in pins():
            await self.content(name)

    async def content(self, name: str) -> bytes | None:
        """None: not one of them, not there, or not as published. The bytes that are checked are those that
        are sent."""
        return await asyncio.to_thread(self._content, name)

    def _content(self, name: str) -> bytes | None:
        pin, file = pins().get(name), self._folder / name
        if pin is None or not file.is_file():
            return None
        content = file.read_bytes()
        if pin.fits(content):
            return content
        log.error(
            "vendor_mismatch",
            file=str(file),
            problem=f"is not the file of {pin.package} {pin.version}: not served; `make run` fetches it anew",
        )
        return None

"""Proofs with the key that all nodes share, on ways that others can write to: that a node said something,
that it is fresh, and that it counts once. Knows no channel and no request."""

import base64
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable

#: Seconds that what a node said is good for: nobody waits so long for its delivery.
FRESH = 30.0
#: Numbers below the highest that are still told apart: so many may overtake each other on their way.
WINDOW = 8192
#: Milliseconds of the nodes' common time, the process that says it, and its number there.
_STAMP = struct.Struct(">QQQ")
_MAC_BYTES = 16
#: Bytes of a proof.
PROOF_BYTES = _STAMP.size + _MAC_BYTES


class _Heard:
    """Numbers heard of one process: the highest, and one bit for each below it (RFC 4303, section 3.4.3)."""

    __slots__ = ("at", "bits", "top")

    def __init__(self, number: int, at: float) -> None:
        self.top, self.bits, self.at = number, 1, at

    def first(self, number: int) -> bool:
        ahead = number - self.top
        if ahead > 0:
            self.bits = (self.bits << ahead | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            self.top = number
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self.bits & bit:
            return False
        self.bits |= bit
        return True


class NodeKey:
    """One process's. `key` is the same on all nodes; `now` gives the nodes' common time in seconds."""

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self._key, self._now = key, now
        self._me = secrets.randbits(64)
        self._number = 0
        self._heard: dict[int, _Heard] = {}

    # --- said once

    def prove(self, *said: bytes) -> bytes:
        """A proof that a node says this now."""
        self._number += 1
        stamp = _STAMP.pack(round(self._now() * 1000), self._me, self._number)
        return stamp + self._mac(stamp, *said)

    def holds(self, proof: bytes, *said: bytes) -> bool:
        """Whether a node said this lately. True once for each proof."""
        stamp, mac = proof[: _STAMP.size], proof[_STAMP.size :]
        if len(proof) != PROOF_BYTES or not hmac.compare_digest(mac, self._mac(stamp, *said)):
            return False
        milliseconds, process, number = _STAMP.unpack(stamp)
        now = self._now()
        return abs(now - milliseconds / 1000) <= FRESH and self._first(process, number, now)

    def _first(self, process: int, number: int, now: float) -> bool:
        heard = self._heard.get(process)
        if heard is None:
            # What is older than this is not fresh any more, and need not be remembered.
            self._heard = {p: h for p, h in self._heard.items() if now - h.at <= 2 * FRESH}
            self._heard[process] = _Heard(number, now)
            return True
        heard.at = now
        return heard.first(number)

    # --- said for a while

    def register(self, node: str, address: str, seconds: float) -> str:
        """A node's URL, signed and good for the next `seconds`; empty if there is none."""
        if not address:
            return ""
        until = f"{self._now() + seconds:.3f}"
        return f"{until} {self._registration(node, address, until)} {address}"

    def registered(self, node: str, found: str) -> str | None:
        """The address, if a node with the key registered it as `node`'s and that still holds."""
        until, _, rest = found.partition(" ")
        signature, _, address = rest.partition(" ")
        right = self._registration(node, address, until)
        if not hmac.compare_digest(signature.encode(), right.encode()):
            return None
        return address if self._now() <= float(until) else None

    def _registration(self, node: str, address: str, until: str) -> str:
        mac = self._mac(b"registration", node.encode(), address.encode(), until.encode())
        return base64.urlsafe_b64encode(mac).decode()

    def _mac(self, *parts: bytes) -> bytes:
        """HMAC-SHA256, 128 bits of it (RFC 2104, section 5); every part with its length."""
        text = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
        return hmac.digest(self._key, text, hashlib.sha256)[:_MAC_BYTES]

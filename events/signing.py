"""Signed texts that clients send back: URLs that expire, cursors. A changed text is refused."""

import base64
import hashlib
import hmac

from events.ids import base64url


class Signer:
    """HMAC-SHA256 (RFC 2104) under a key of its own for each purpose, so that none passes for another."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._key = hmac.digest(secret.encode(), f"parley {purpose}".encode(), hashlib.sha256)

    def sign(self, text: str) -> str:
        """128 bits, in characters that a URL can hold."""
        digest = hmac.digest(self._key, text.encode(), hashlib.sha256)
        return base64url(digest[:16]).decode()

    def matches(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode(errors="replace"))

    def seal(self, text: str) -> str:
        """The text with its signature, opaque to a glance (not secret)."""
        return base64url(f"{self.sign(text)}{text}".encode()).decode()

    def open(self, sealed: str) -> str | None:
        """What was sealed; None for anything else."""
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)).decode()
        except ValueError:
            return None
        signature, text = raw[:22], raw[22:]
        return text if self.matches(text, signature) else None

"""Keys: the development key, the keys derived from it, and which keys are too weak to use.

Knows nothing of tokens.
"""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from storage import private

MIN_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key has at least the size of the hash."""

# What documents, tutorials and templates print in the place of a key; compared without case and punctuation.
_EXAMPLES = (
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "replacewith",
    "yoursecret",
    "yoursupersecret",
    "yourjwt",
    "your256bit",
    "mysupersecret",
    "stringsecret",
    "insecure",
    "notasecret",
    "donotuse",
    "placeholder",
    "inproduction",
    "atleast256bits",
    "atleast32",
    "correcthorsebatterystaple",
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz",
    "12345678901234567890123456789012",
)


def weakness(key: str, *, example_allowed: bool = False) -> str | None:
    """Why `key` must not sign anything; None if nothing speaks against it. Development may use an example."""
    if len(key.encode()) < MIN_BYTES:
        return f"is shorter than {MIN_BYTES} bytes"
    if example_allowed:
        return None
    plain = re.sub(r"[^a-z0-9]", "", key.lower())
    if any(example in plain for example in _EXAMPLES):
        return "is a well-known example"
    # 32 random hex digits have about 14 different characters; fewer than 8 is a keyboard, not a generator.
    if len(set(key)) < 8:
        return "repeats a few characters"
    return None


def derive(key: str, purpose: str) -> str:
    """A key for `purpose` from `key`, as 64 hex digits: HKDF-SHA256 (RFC 5869), one block.

    Other purposes give unrelated keys, and none tells anything of `key`.
    """
    extracted = hmac.digest(b"parley", key.encode(), hashlib.sha256)
    return hmac.new(extracted, purpose.encode() + b"\x01", hashlib.sha256).hexdigest()


def development_key(folder: Path) -> str:
    """The key kept in `folder`/dev-secret (mode 600), made at the first call.

    Written aside and linked into place: of two processes that start together, both take the first one's
    key, and neither reads half a file.
    """
    path = folder / "dev-secret"
    if not path.exists():
        private.folder(folder)
        draft = folder / f".dev-secret-{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text().strip()

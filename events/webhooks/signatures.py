"""Standard Webhooks: secrets, and how a body is signed (github.com/standard-webhooks/standard-webhooks)."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
#: Bytes of a secret, as the standard has them.
LEAST, MOST, OURS = 24, 64, 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(OURS)).decode()


def key_of(secret: str) -> bytes:
    """Raises ValueError for what is no secret of the standard."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("is not whsec_ and base64") from error
    if not LEAST <= len(key) <= MOST:
        raise ValueError(f"has not {LEAST} to {MOST} bytes")
    return key


def signed(keys: Sequence[bytes], name: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one for each key."""
    text = b"%b.%d.%b" % (name.encode(), timestamp, body)
    each = (base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{signature}" for signature in each)

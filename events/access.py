"""Who is calling, and what a caller may do in a session. Knows no token format and no SQL."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "agent", "service"]
SessionRole = Literal["owner", "member", "viewer", "agent", "service"]

SENDER_TYPES = {"user": "user", "agent": "agent", "service": "system"}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated identity: (role, sub). `sessions` restricts it to those session ids.

    `expires_at` and `issued_at` are seconds since the epoch.
    """

    role: Role
    sub: str
    name: str | None = None
    sessions: frozenset[str] | None = None
    session_role: Literal["member", "viewer"] = "viewer"
    expires_at: float = float("inf")
    issued_at: float | None = None

    @property
    def identity(self) -> tuple[str, str]:
        return self.role, self.sub

    @property
    def sender_type(self) -> str:
        return SENDER_TYPES[self.role]

    @property
    def key(self) -> str:
        """One string for presence, read marks and buckets: user 1 is not agent 1."""
        return self.sub if self.role == "user" else f"{self.role}:{self.sub}"

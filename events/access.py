"""Callers, and what they may do in a session. Knows no token format and no SQL."""

from typing import Literal, cast

from msgspec import Struct
from msgspec.structs import force_setattr

from events.errors import Forbidden, SessionNotFound
from events.identity import Role, agent_id, key_of
from storage.records import REMOVED, Person, SessionRecord

SessionRole = Literal["owner", "member", "viewer", "agent", "service"]

SENDER_TYPES = {"user": "user", "agent": "agent", "service": "system"}


class Caller(Struct, frozen=True, gc=False):
    """An authenticated identity: (role, sub). `sessions` restricts it to those session ids.

    `expires_at` and `issued_at` are seconds since the epoch. `key` is one string per identity, for ownership,
    presence, read marks and buckets: user 1 is not agent 1. `account` is for whom what is used up is counted:
    those who hold a share link have an account for each network that they come from, and use up nothing of
    who takes part under the same `sub`. `person` is what its token says that it is called; nobody's where
    many may hold it: the user of that `sub` has a name of his own. The three are asked for many times in a
    connection's life, and made once, of the rest: whatever is given for them does not count.
    """

    role: Role
    sub: str
    name: str | None = None
    avatar_url: str | None = None
    sessions: frozenset[str] | None = None
    session_role: Literal["member", "viewer"] = "viewer"
    expires_at: float = float("inf")
    issued_at: float | None = None
    #: Where a share link's holder comes from; "" for all others.
    network: str = ""
    key: str = ""
    account: str = ""
    person: Person | None = None

    def __post_init__(self) -> None:
        key = key_of(self.role, self.sub)
        force_setattr(self, "key", key)
        force_setattr(self, "account", key if self.sessions is None else f"{key}\0link\0{self.network}")
        named = self.name is not None or self.avatar_url is not None
        mine = named and self.role == "user" and self.sessions is None
        force_setattr(self, "person", Person(self.name, self.avatar_url) if mine else None)

    @property
    def identity(self) -> tuple[str, str]:
        return self.role, self.sub

    @property
    def sender_type(self) -> str:
        return SENDER_TYPES[self.role]

    def reaches(self, session_id: str) -> bool:
        """Whether the token's restriction leaves room for this session."""
        return self.sessions is None or session_id in self.sessions

    @property
    def link(self) -> str | None:
        """For whom is counted what all holders of a share link use up together; None without one."""
        return None if self.sessions is None else f"{self.key}\0link"

    @property
    def asking(self) -> str:
        """Whose turn it is where questions to the database have to wait (`storage.fairness`); the operator's
        own do not."""
        return self.account if self.role == "user" else ""

    @property
    def agent_id(self) -> int | None:
        """The agent that it is; None for users and services."""
        return agent_id(self.sub) if self.role == "agent" else None


#: What each role may do in a session (contract, "Who may connect").
MAY_WRITE = frozenset({"owner", "member", "agent", "service"})
MAY_MANAGE = frozenset({"owner", "service"})


def role_in(caller: Caller, session: SessionRecord, standing: str | None) -> SessionRole:
    """The caller's role in a session; `standing` is a participant's (`ParticipantRecord.standing`).

    Raises SessionNotFound: to everyone else it does not exist.
    """
    if not caller.reaches(session.session_id):
        raise SessionNotFound
    if caller.role == "service":
        return "service"
    if caller.role == "agent":
        if session.agent_id is not None and session.agent_id == caller.agent_id:
            return "agent"
        raise SessionNotFound
    if standing == REMOVED:
        raise SessionNotFound
    if caller.sessions is not None:
        return caller.session_role
    if session.user_id == caller.key:
        return "owner"
    if standing is not None:
        return "member" if standing == "owner" else cast(SessionRole, standing)
    raise SessionNotFound


def require(role: SessionRole, roles: frozenset[str]) -> None:
    """Raises Forbidden."""
    if role not in roles:
        raise Forbidden

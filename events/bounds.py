"""What a caller can make a node hold or do, as data: who may, how often, how many, how much, and the error
beyond.

`events.ratelimit` enforces it; the declarations of calls are in `events.catalog` and `server.bounds`.
"""

from dataclasses import dataclass

from events.errors import ChatError, LimitReached, PayloadTooLarge, RateLimited, ValidationFailed

#: Roles that the operator hands out himself.
OPERATORS = frozenset({"agent", "service"})


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket of `burst` that fills up by `per_minute`, one for each `each` and over all nodes.

    `exempt` are roles that have none; a `setting` has the figure where the operator may choose it. Where it
    is `patient`, a connection's commands wait for their token.
    """

    per_minute: int
    burst: int
    each: str = "user"
    exempt: frozenset[str] = OPERATORS
    setting: str | None = None
    patient: bool = False


#: A page that comes back with MAX_ROOMS_PER_CONNECTION rooms in several tabs, reads each and marks it as
#: read, stays below; a loop does not.
RATES: dict[str, Rate] = {
    "message": Rate(60, 60, setting="rate_limit_messages_per_minute", patient=True),
    "typing": Rate(120, 120),
    "upload": Rate(20, 20),
    "connect": Rate(120, 120),
    "join": Rate(600, 1000),
    "presence": Rate(60, 60),
    "read": Rate(600, 1000),
    # A page may ask while its reader types; what one call may cost is bounded, and more than a read's.
    "search": Rate(30, 30, exempt=frozenset({"service"})),
    "create": Rate(30, 60),
    "change": Rate(60, 120),
    # A group is often added at once.
    "participant": Rate(60, 300),
    # A viewer of a PDF reads it in many ranges.
    "download": Rate(600, 1200),
    # Not the chunks: these have their own, by stream.
    "stream": Rate(240, 240),
    "refresh": Rate(30, 60),
    "signed": Rate(1200, 1200, each="signed address"),
    "page": Rate(1200, 1200, each="network", exempt=frozenset()),
}

#: What a connection may say faster than its rate, a burst of what was typed while it was away, waits for its
#: token where that is due within so many seconds: less than the ten after which clients repeat.
PATIENCE = 8.0
#: ... with so many more in line behind it, or as many as go in a minute; what comes then is refused.
SLOWED = 60

#: All holders of a share link together have so many times what those of one network have.
LINK = 10

#: They fill one of so many parts of the bytes that a user's files may have: the rest is the user's own.
LINK_STORED = 2

#: Bytes of uploads under way on a node, and of one user's, in files of the largest size: as much as a small
#: disk has room for, and as what one user may begin at once (`RATES["upload"]`), if as much is still free.
UPLOADING, UPLOADING_EACH = 100, 20
#: The last of them are for users with no more than one upload: a user's second one takes none of these.
UPLOADING_LAST = 10

#: Chunks per second and stream.
CHUNKS_PER_SECOND = 200
#: Refusals of one user on one node that are told at once, and how many more a minute; each further one is
#: told after `LATE` seconds, and the sender's next command waits behind it: a flood goes at the pace of its
#: answers.
REFUSALS, REFUSALS_PER_MINUTE, LATE = 60, 60, 1.0


@dataclass(frozen=True, slots=True)
class Cap:
    """How many there may be at a time. `setting` has the number, 0 for no limit; `beyond` is what the next is
    told: RATE_LIMIT where they go by themselves."""

    setting: str
    told: str
    beyond: type[ChatError]
    zero: bool = True  # whether 0 is a choice

    def error(self, most: int) -> ChatError:
        if self.beyond is RateLimited:
            return RateLimited(f"at most {most} {self.told}", retry_after=1000)
        return self.beyond(f"at most {most} {self.told}", details={"limit": most})


PARTICIPANTS = Cap("max_participants_per_session", "participants of a session", LimitReached)
SESSIONS = Cap("max_sessions_per_user", "sessions of one owner", LimitReached)
STORED = Cap("max_stored_bytes_per_user", "bytes of files of one user", PayloadTooLarge)
OPEN_STREAMS = Cap("max_streams_per_user", "open streams of one user", RateLimited, zero=False)
EVENT_STREAMS = Cap("max_event_streams_per_user", "event streams of one user on a node", RateLimited)
READERS = Cap("max_readers_per_stream", "readers of one stream on a node", RateLimited)
REQUESTS = Cap("max_requests_per_user", "requests of one user under way on a node", RateLimited)
ROOMS = Cap("max_rooms_per_connection", "rooms of one connection", ValidationFailed, zero=False)
CAPS = (PARTICIPANTS, SESSIONS, STORED, OPEN_STREAMS, EVENT_STREAMS, READERS, REQUESTS, ROOMS)


@dataclass(frozen=True, slots=True)
class Bounds:
    """One call's, as the table of docs/security.md shows it. `rate` is one of `RATES`; where it is none,
    `unrated` says why. `holds` and `size` say what a call may leave behind or bring along; `beyond` are the
    codes of what goes too far."""

    who: str
    rate: str | None
    size: str
    beyond: tuple[str, ...]
    caps: tuple[Cap, ...] = ()
    holds: str = "nothing"
    unrated: str = ""

    def __post_init__(self) -> None:
        if (self.rate is None) == (not self.unrated) or (self.rate is not None and self.rate not in RATES):
            raise ValueError("a call has a rate, or a reason for having none")
        if not (self.who and self.size and self.beyond and (self.caps or self.holds)):
            raise ValueError("every bound of a call is declared")

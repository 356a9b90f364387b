"""Sessions, and who is in their rooms on this node."""

from dataclasses import dataclass

import msgspec

from events.feedback import FeedbackService
from events.filecare import FileCare
from events.membership import Membership
from events.names import Names
from events.notices import ActivityNotices
from events.participation import Participation
from events.presence import Presence
from events.ratelimit import RateLimits
from events.records import ConnectionRecords
from events.sessions import SessionManager
from events.stall import Stall
from events.typing import Typing
from events.unread import UnreadCounts
from events.witness import Witness
from server.node.core import Core
from server.node.delivering import Delivering
from server.node.stores import Stores


@dataclass(frozen=True)
class Members:
    """`stall` is there where there may be other nodes: one process alone is nobody's successor."""

    sessions: SessionManager
    participation: Participation
    feedback: FeedbackService
    file_care: FileCare
    presence: Presence
    typing: Typing
    notices: ActivityNotices
    records: ConnectionRecords
    membership: Membership
    stall: Stall | None


def build_members(
    core: Core, stores: Stores, delivering: Delivering, limits: RateLimits, names: Names
) -> Members:
    settings, clock, delivery = core.settings, stores.clock, delivering.delivery
    shared = delivering.outage is not None
    file_care = FileCare(stores.files, stores.contents, clock)
    sessions = SessionManager(
        stores.sessions,
        stores.participants,
        stores.agents,
        delivery,
        clock,
        ttl_hours=settings.session_hours,
        limits=limits,
        on_purged=file_care.on_purged,
    )
    participation = Participation(
        sessions,
        stores.participants,
        names,
        delivery,
        limits,
        clock,
        owner_adds=settings.participants_added_by == "owner",
    )
    presence = Presence(
        delivering.backends.presence,
        delivery,
        clock,
        core.tasks,
        grace=settings.presence_grace,
        events_max=settings.presence_events_max,
        witness=Witness(delivery, clock, listed=settings.presence_events_max) if shared else None,
    )
    typing = Typing(delivery, clock, core.outside.monotonic, ttl=settings.typing_ttl)
    records = ConnectionRecords(
        delivery,
        delivering.backends.records,
        clock,
        core.tasks,
        window=settings.recovery_window,
    )
    membership = Membership(
        delivery,
        sessions,
        records,
        presence,
        typing,
        clock,
        core.tasks,
        lease=settings.node_lease,
    )

    async def find_out(lasted: float) -> None:
        typing.disown()
        await membership.find_out(lasted)

    feedback = FeedbackService(stores.feedback, sessions, stores.messages, delivery, clock)
    _listen(core, membership, feedback)
    notices = ActivityNotices(stores.participants, delivery, clock)
    delivery.on_activity = UnreadCounts(stores.unread, delivering.hub, core.tasks).tell
    stall = Stall(clock, find_out) if shared else None
    return Members(
        sessions, participation, feedback, file_care, presence, typing, notices, records, membership, stall
    )


def _listen(core: Core, membership: Membership, feedback: FeedbackService) -> None:
    def taken_over(channel: str, body: bytes) -> None:
        membership.taken_over(*msgspec.json.decode(body, type=tuple[str, int]))

    def access_changed(channel: str, body: bytes) -> None:
        session_id = channel.partition(":")[2]
        core.tasks.spawn(membership.access_changed(session_id, body.decode()))

    core.signals.on("takeover", taken_over)
    core.signals.on("access", access_changed)
    core.signals.on("rated", lambda channel, body: feedback.first_given(channel.partition(":")[2]))

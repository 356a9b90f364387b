"""Coming into a room, coming back to it, and what makes a node whole again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from events.healing import Healer
from events.joining import Joining
from events.names import Names
from events.snapshots import Snapshots
from events.takeover import Takeover
from server.node.core import Core
from server.node.delivering import Delivering
from server.node.members import Members
from server.node.stores import Stores
from server.node.writing import Writing


@dataclass(frozen=True)
class Joins:
    snapshots: Snapshots
    joining: Joining
    takeover: Takeover
    healer: Healer


def build_joins(
    core: Core, stores: Stores, delivering: Delivering, members: Members, writing: Writing, names: Names
) -> Joins:
    settings, delivery, membership = core.settings, delivering.delivery, members.membership
    snapshots = Snapshots(
        members.sessions,
        writing.messages,
        stores.snapshots,
        stores.clock,
        delivering.history,
        names,
        local_text=writing.streams.local_text,
    )
    joining = Joining(
        membership,
        members.records,
        delivery,
        snapshots,
        members.presence,
        members.feedback,
        core.observer,
        core.tasks,
        max_rooms=settings.max_rooms_per_connection,
        replay_limit=settings.outbox_limit,
    )
    takeover = Takeover(
        membership,
        delivery,
        snapshots,
        stores.messages,
        delivering.backends.records,
        members.presence,
        core.observer,
        max_rooms=settings.max_rooms_per_connection,
        replay_limit=settings.outbox_limit,
    )
    healer = Healer(
        delivery,
        members.sessions,
        on_departure=members.records.spoil_all,
        on_live=_on_live(core, delivering, members, writing),
        history=delivering.history,
    )
    return Joins(snapshots, joining, takeover, healer)


def _on_live(
    core: Core, delivering: Delivering, members: Members, writing: Writing
) -> list[Callable[[], Awaitable[None]]]:
    """The steps of a node when its bus is back."""

    outage = delivering.outage
    if outage is None:
        return [writing.leases.on_live]

    async def say() -> None:
        if await members.presence.beat_at_once():
            await outage.let_go()

    async def say_who_is_here() -> None:
        core.tasks.spawn(say())

    return [writing.leases.on_live, say_who_is_here]

"""Members who do not take every event as it comes: they hold it, skip it, or get what they lack of it."""

from events.event import Event, Kind, clip, retold
from events.room import Member
from events.seat import ENDED, Hole
from storage.interfaces import UNCOUNTED

#: Volatile events that tell how things are until the next one does: who waits is not to miss them.
LASTING = frozenset({"presence", "system", "typing"})


def take(member: Member, event: Event, limit: int) -> None:
    """The slow way: hold, skip or clip."""
    conn = member.conn
    if event.not_to == conn.id and not conn.hears_its_own_chunks:
        if event.sizes and member.idx and event.stream in member.idx:
            member.idx[event.stream] = max(member.idx[event.stream], event.index + len(event.sizes))
        return
    if conn.held is not None:
        if event.kind == Kind.VOLATILE and event.name not in LASTING:
            return
        conn.held_size += len(event.data)
        if conn.held_size > limit:
            conn.held = []
            conn.sink.cut()
            return
        conn.held.append((member, event))
        return
    if event.pos and event.pos <= member.pos:
        return
    if event.kind == Kind.DURABLE:
        if event.rev <= member.rev:
            return
        if event.seq and event.seq <= member.seq:
            event = retold(event)
        if event.closed and event.final != UNCOUNTED and _lacks(member, event):
            raise Hole
        if event.stream:
            if member.idx is None:
                member.idx = {}
            known = member.idx.get(event.stream, ENDED)
            # A reader of one stream has begun before it hears of the start.
            member.idx[event.stream] = ENDED if event.closed else 0 if known == ENDED else known
    elif event.sizes:
        # Of whose start it was not told, it was told the end: with the snapshot.
        have = (member.idx or {}).get(event.stream, ENDED)
        if have == ENDED:
            return
        try:
            part = clip(event, have)
        except ValueError as error:
            raise Hole from error
        if part is None:
            return
        if member.idx is None:
            member.idx = {}
        member.idx[event.stream] = part.index + len(part.sizes)
        event = part
    conn.send(event)


def _lacks(member: Member, end: Event) -> bool:
    """Whether a stream's end would come without all of its text."""
    have = (member.idx or {}).get(end.stream, end.final)
    return have not in (end.final, ENDED)

"""The rules of the design, each with a switch. All on: the design. One off: a hole, shown by a schedule."""

from dataclasses import dataclass, fields, replace

#: switch -> (what goes wrong without it, in one line)
HOLES = {
    "gap_answer": "two nodes append revisions 5 and 6 in swapped order: 5 is dropped as old",
    "base_told": (
        "a log begins anew at a higher revision: members' offsets pass the revisions it leaves out"
    ),
    "heal_poll": "a node dies between commit and append: nobody ever publishes the event",
    "retold": (
        "SQL told of a message here, the log only of what became of it: it comes a second time, as new"
    ),
    "subscribe_first": (
        "a room is read before its channel's subscription is confirmed: what lies between is lost"
    ),
    "resync_on_reconnect": (
        "the subscriber connection broke and is back: what was published between is lost"
    ),
    "spoil": "an event delivered from SQL, or a record not written: the offset is good all the same",
    "warn_at_once": (
        "the bus is lost: a client that gets no more event keeps a good offset to a stale record"
    ),
    "warn_who_joins": "the bus is lost before a connection is in any room; it joins one and is not warned",
    "log_first": "what went out from SQL is not in the log yet: who recovers on this node never gets it",
    "no_other_epoch": (
        "members' floors are positions of an epoch that is over: all that comes is old to them"
    ),
    "record_before_ack": (
        "join is answered before the connection's record holds the room: recovery forgets it"
    ),
    "trim_mark": "the log was trimmed (or made anew) past the offset: a partial replay is called recovered",
    "run_in_epoch": (
        "Redis comes back with an older snapshot: positions are given out a second time in one epoch"
    ),
    "connect_first": (
        "missed events are sent before CONNECT and the socket breaks: the client gets them twice"
    ),
    "hold_connection": (
        "while a join runs only the new room's events wait: room B's later offset overtakes them"
    ),
    "join_floor": "join: snapshot from SQL, live from the bus, and no floor between the two",
    "closed_floor": (
        "join: a stream ended between the cut and the snapshot: its last chunks come after its end"
    ),
    "start_before_chunk": "a chunk is logged before its stream_start is",
    "end_with_text": "stream_end without the text, to readers who missed chunks",
    "own_end_only": (
        "a stream is ended by another than its producer, short of what some readers got, without its text"
    ),
    "close_first": "a stream is ended while its log still takes chunks",
    "seal_on_close": (
        "a connection closes while its join runs: the record is written from rooms already taken apart"
    ),
    "merge_tail_only": "a slow reader's chunks are merged over another event in its outbox",
    "replay_cut": "replay and live are joined without a common cut position",
    "stale_fill": "whoever fills was overtaken: a message is told of a second time, as new",
    "ordered_records": (
        "a record write that timed out is carried out after a newer one, or in a newer epoch"
    ),
}

#: Rules that the others cover in every schedule tried so far. Each closes a hole by itself.
BELTS = {
    "text_is_log": "a stream's text in Redis runs ahead of its logged chunks",
    "hole_check": "an entry that does not name the one before it is delivered all the same",
    "log_base": "an empty room log takes any first revision: 6 opens it, the late 5 is dropped as old",
    "base_from_sql": "a log is made anew at a node's own last revision: what others have seen comes again",
    "judge_by_mark": "changes were read, then others delivered: a message is told of a second time, as new",
    "away_not_behind": (
        "two open a room while the bus is away: the earlier snapshot misses what lies between"
    ),
    "own_cut": (
        "the cut of a return is a position that was given out before: it proves nothing about what came since"
    ),
    "still_before_begin": "a room begins at a cut that was taken before the bus was lost and found again",
    "fence": "the old node writes the connection's record after the takeover",
    "clamp_to_join": "replay starts at the client's offset though the room was joined later",
    "cut_after_begin": (
        "two connections open a room on a node at once: the earlier cut misses what lies between"
    ),
    "ask_again": (
        "the log lost a stream's text: its producer goes on where it was, and nobody has what is before"
    ),
}


@dataclass(frozen=True)
class Design:
    gap_answer: bool = True
    log_base: bool = True
    base_from_sql: bool = True
    base_told: bool = True
    heal_poll: bool = True
    stale_fill: bool = True
    retold: bool = True
    subscribe_first: bool = True
    resync_on_reconnect: bool = True
    spoil: bool = True
    warn_at_once: bool = True
    warn_who_joins: bool = True
    judge_by_mark: bool = True
    away_not_behind: bool = True
    log_first: bool = True
    own_cut: bool = True
    no_other_epoch: bool = True
    still_before_begin: bool = True
    record_before_ack: bool = True
    fence: bool = True
    clamp_to_join: bool = True
    trim_mark: bool = True
    run_in_epoch: bool = True
    replay_cut: bool = True
    connect_first: bool = True
    hold_connection: bool = True
    cut_after_begin: bool = True
    join_floor: bool = True
    closed_floor: bool = True
    start_before_chunk: bool = True
    text_is_log: bool = True
    end_with_text: bool = True
    own_end_only: bool = True
    close_first: bool = True
    ask_again: bool = True
    ordered_records: bool = True
    seal_on_close: bool = True
    merge_tail_only: bool = True
    # Belt and braces: each entry names the one before it; a node that lacks it resyncs.
    hole_check: bool = True

    def without(self, name):
        return replace(self, **{name: False})


assert set(HOLES) | set(BELTS) == {f.name for f in fields(Design)}

# Small numbers, so that every limit is met often.
LOG_SIZE = 6  # RECOVERY_LOG_SIZE: entries kept per room
FILL_MAX = 4  # revisions one fill appends; beyond it the log is reset instead
HOLD_MAX = 12  # bus messages held while a node resyncs

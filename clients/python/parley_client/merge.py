"""What a session's snapshots and events come to: functions from one state to the next. Pure; what did not
change stays the same object. docs/protocol.md (4 to 6) and docs/turns.md say what each event means."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from parley_client import turns
from parley_client.errors import Json
from parley_client.known import EMPTY, Known, by_seq, find, key_of, place
from parley_client.parts import derived, grown, shaped

T = TypeVar("T")

#: What a message says while it is written, and not when it is.
PASSING = ("doing", "passing")


def joined(state: Known, reply: Json, resumed: bool) -> Known:
    """The reply to `join`. `resumed`: it was asked after our revision."""
    keeps = resumed and not reply.get("reset")
    branched = "head_id" in reply
    after = replace(
        turns.listed(state if keeps else EMPTY, reply),
        session=reply["session"],
        lineage=reply.get("lineage"),
        branched=branched,
        moved=branched,
        online={each["user_id"]: each["status"] for each in reply["online"]},
        online_count=None,
        typing=(),
        read_marks=reply["read_marks"],
        next={},
        holes=(),
        stale=keeps and (state.stale or branched),  # changes of all branches came
    )
    if keeps:
        after = changed(after, reply)
    else:
        revision = reply["last_revision"]
        after = replace(
            _learned(after, reply.get("users")),
            revision=revision,
            newest=revision,
            last_seq=reply["last_seq"],
            has_older=reply["has_more"],
            messages=tuple(map(shaped, reply["messages"])),
        )
    return reduce(_opened, reply["streams"], after)


def changed(state: Known, page: Json) -> Known:
    """A page of all that changed since our revision."""
    messages = page["messages"]
    state = reduce(_put, messages, _read(state, page))
    seen = messages[-1]["revision"] if messages else 0
    more = page["has_more"]
    revision = max(state.revision, seen) if more else max(page["last_revision"], state.newest)
    return replace(
        state,
        revision=revision,
        newest=max(revision, state.newest),
        behind=more,
        last_seq=max(state.last_seq, page["last_seq"]),
    )


def older(state: Known, page: Json) -> Known:
    """A page before the first message that is shown."""
    state = _read(state, page)
    shown = {message["message_id"] for message in state.messages}
    before = [_known(state, each) for each in page["messages"] if each["message_id"] not in shown]
    messages = sorted([*before, *state.messages], key=by_seq)
    return replace(state, has_older=page["has_more"], messages=tuple(messages))


def path(state: Known, page: Json) -> Known:
    """The newest page of the path, where the session has branches. What is known stays known."""
    state = _read(state, page)
    messages = [_known(state, message) for message in page["messages"]]
    at = place(state.messages, messages[0]["message_id"]) if messages else -1
    before = state.messages[:at] if at > 0 else ()
    ids = {message["message_id"] for message in (*before, *messages)}
    rest = [each for each in (*state.messages, *state.aside.values()) if each["message_id"] not in ids]
    last = page["last_seq"]
    since = sorted((each for each in rest if each["seq"] > last), key=by_seq)  # told after the page was read
    after = replace(
        state,
        branched=True,
        messages=(*before, *messages),
        aside={each["message_id"]: each for each in rest if each["seq"] <= last},
        has_older=state.has_older if at >= 0 else page["has_more"],
        last_seq=last,
    )
    told = reduce(_put, since, after)
    return replace(told, last_seq=max(state.last_seq, told.last_seq))


def refilled(state: Known, message_id: str, reply: Json) -> Known:
    """The text of a stream from its beginning, which was asked for because some of it was missing."""
    parts, content = reply.get("parts"), reply["content"]
    state = replace(state, holes=tuple(each for each in state.holes if each != message_id))
    if reply["status"] == "streaming":
        state = replace(state, next={**state.next, message_id: reply["next_index"]})
    whole = {"content": content, "parts": derived(content) if parts is None else parts}
    return _change(state, message_id, lambda message: {**message, **whole})


def away(state: Known) -> Known:
    """The connection went: nobody tells who goes on typing."""
    return replace(state, typing=()) if state.typing else state


def thought(state: Known, given: Json) -> Known:
    """What the caller thinks of a message, which no event tells. The sums of all come with the next
    snapshot."""
    mine = {name: given[name] for name in ("value", "comment") if given.get(name) is not None}

    def told(message: Json) -> Json:
        before = message.get("feedback") or {}
        others = {name: value for name, value in before.items() if name not in ("value", "comment")}
        return {**message, "feedback": {**others, **mine}}

    return _change(state, given["message_id"], told)


def event(state: Known, name: str, data: Json) -> Known:
    """An event, by its name."""
    tell = EVENTS.get(name)
    if tell is None:
        return state
    if data.get("user"):
        state = _learned(state, {key_of(data): data["user"]})
    revision = data.get("revision") or 0
    if revision > state.newest:
        state = replace(state, newest=revision, revision=state.revision if state.behind else revision)
    return tell(state, data)


def _said(state: Known, data: Json) -> Known:
    return _put(_silent(state, key_of(data)), data)


def _deleted(state: Known, data: Json) -> Known:
    message_id = data["message_id"]
    version = any(message_id in message.get("siblings", ()) for message in state.messages)
    state = _put(turns.done(state, message_id), data)
    return replace(state, next=_without(state.next, message_id), stale=state.stale or version)


def _does(state: Known, data: Json) -> Known:
    def told(message: Json) -> Json:
        rest = {name: value for name, value in message.items() if name != "doing"}
        if not data.get("status"):
            return rest
        return {**rest, "doing": {"status": data["status"], "detail": data.get("detail")}}

    return _change(state, data["message_id"], told)


def _turned(state: Known, data: Json) -> Known:
    return turns.told(state, data, _seq_of(state, data["message_id"]))


def _was_read(state: Known, data: Json) -> Known:
    user, seq = data["user_id"], data["seq"]
    if seq <= state.read_marks.get(user, 0):
        return state
    return replace(state, read_marks={**state.read_marks, user: seq})


def _types(state: Known, data: Json) -> Known:
    others = _silent(state, data["user_id"])
    return replace(others, typing=(*others.typing, data["user_id"])) if data["is_typing"] else others


def _presence(state: Known, data: Json) -> Known:
    if "user_id" not in data:
        return replace(state, online_count=data["online"])
    return _present(state, data["user_id"], data["status"])


def _system(state: Known, data: Json) -> Known:
    user = data["user_id"]
    return _present(
        state, user, "offline" if data["event"] == "user_left" else state.online.get(user, "online")
    )


def _session(state: Known, data: Json) -> Known:
    what = data["event"]
    if what == "head":
        return replace(state, branched=True, moved=True, stale=True)
    told: Json = {}
    if what == "updated" and "title" in data:
        told = {"title": data["title"]}
    elif what in ("archived", "expired"):
        told = {"status": what}
    return replace(state, session={**state.session, **told}) if told and state.session else state


# --- streams


def _begins(state: Known, data: Json) -> Known:
    start = _without(data, "timestamp")
    message_id, revision, question = start["message_id"], start["revision"], start.get("reply_to")
    old = find(state, message_id)
    if old and (old["revision"] > revision or (old["revision"] == revision and message_id in state.next)):
        return state
    if question:
        state = turns.begun(state, question, message_id, _seq_of(state, question))
    state = replace(state, next={**state.next, message_id: 0})
    fresh = {
        "message_type": "stream", "created_at": data.get("timestamp"), "is_edited": False, **start,
        "status": "streaming", "content": "", "parts": [],
    }  # fmt: skip
    if old is None:
        return _put(state, fresh)
    # One that has waited is written on, and told anew from its beginning.
    began = old["created_at"]
    return _change(
        state, message_id, lambda message: {**_without(message, *PASSING), **fresh, "created_at": began}
    )


def _grows(name: str) -> Callable[[Known, Json], Known]:
    def grows(state: Known, data: Json) -> Known:
        message_id, index, count = data["message_id"], data["index"], data.get("count", 1)
        message, following = find(state, message_id), state.next.get(message_id)
        if message is None or message["status"] != "streaming":
            return state
        if following is not None and index + count <= following:
            return state  # known already
        if index != following:
            return _hole(state, message_id)
        state = replace(state, next={**state.next, message_id: index + count})
        return _change(state, message_id, lambda message: grown(message, name, data))

    return grows


def _ends(state: Known, data: Json) -> Known:
    message_id, content = data["message_id"], data.get("content")
    end = _without(data, "timestamp", "session_id", "content", "parts")
    old = find(state, message_id)
    state = turns.answered(state, message_id, end["status"])
    if old is None or old["revision"] > end["revision"]:
        return state
    lacks = content is None and old["status"] == "streaming"
    lacks = lacks and (message_id not in state.next or message_id in state.holes)
    state = replace(
        state,
        next=_without(state.next, message_id),
        holes=tuple(each for each in state.holes if each != message_id),
    )
    if lacks:
        state = _hole(state, message_id)
    spent = {name: end.get(name) for name in ("tokens_used", "latency_ms")}
    whole = {} if content is None else {"content": content, "parts": data.get("parts") or derived(content)}
    added = spent if any(each is not None for each in spent.values()) else {}

    def told(message: Json) -> Json:
        metadata = {**(message.get("metadata") or {}), **(end.get("metadata") or {}), **added}
        return {**_without(message, *PASSING), **end, **whole, "metadata": metadata}

    return _change(state, message_id, told)


def _opened(state: Known, stream: Json) -> Known:
    """What `join` says of a stream that is open."""
    message_id, content, parts = stream["message_id"], stream["content"], stream.get("parts")
    if find(state, message_id) is None:
        return state
    state = replace(state, next={**state.next, message_id: stream["next_index"]})
    told = {"content": content, "parts": derived(content) if parts is None else parts}
    if stream.get("agent_status"):
        told["doing"] = stream["agent_status"]
    return _change(state, message_id, lambda message: {**_without(message, "doing"), **told})


def _hole(state: Known, message_id: str) -> Known:
    return state if message_id in state.holes else replace(state, holes=(*state.holes, message_id))


# --- messages


def _put(state: Known, message: Json) -> Known:
    """A message as it is now: in its place on the path, or aside where the path leads elsewhere."""
    message_id, seq = message["message_id"], message["seq"]
    if find(state, message_id):
        return _change(state, message_id, lambda old: _renewed(old, message))
    message = shaped(message)
    messages = state.messages
    last = messages[-1] if messages else None
    branched = state.branched or "parent_id" in message
    last_seq = max(state.last_seq, seq)
    if branched and not _follows(message, last, state.last_seq):
        aside = {**state.aside, message_id: message}
        return replace(state, branched=branched, last_seq=last_seq, stale=True, aside=aside)
    if last is None or seq > last["seq"]:
        stale = state.stale or state.moved
        added = (*messages, message)
        return replace(state, branched=branched, last_seq=last_seq, messages=added, moved=False, stale=stale)
    if seq < messages[0]["seq"] and state.has_older:
        return state  # of a page that was not asked for
    return replace(state, last_seq=last_seq, messages=tuple(sorted([*messages, message], key=by_seq)))


def _follows(message: Json, last: Json | None, last_seq: int) -> bool:
    """Whether it is the next of the path."""
    seq, before = message["seq"], last["seq"] if last else 0
    if seq < last_seq or seq < before:
        return False
    if "parent_id" not in message:
        return bool(before == seq - 1)
    return bool(message["parent_id"] == (last["message_id"] if last else None))


def _known(state: Known, message: Json) -> Json:
    """One of a page of the path, which says who its siblings are, with what is known beyond it."""
    old = find(state, message["message_id"])
    if old is None:
        return shaped(message)
    told: Json = {name: message[name] for name in ("siblings", "parent_id") if name in message}
    return _renewed({**_without(old, "siblings"), **told}, message)


def _renewed(old: Json, message: Json) -> Json:
    """`old` after `message` was read or told. Events say nothing of siblings and feedback."""
    if message["revision"] < old["revision"]:
        return old
    kept: Json = {name: old[name] for name in ("siblings", "parent_id") if name in old}
    if old.get("feedback") and not message.get("deleted_at"):
        kept["feedback"] = old["feedback"]
    written: Json = {}
    if message["status"] == "streaming" and message["revision"] == old["revision"]:
        written = {name: old[name] for name in ("content", "parts", *PASSING) if name in old}
    return shaped({**kept, **message, **written})


def _change(state: Known, message_id: str, make: Callable[[Json], Json]) -> Known:
    at = place(state.messages, message_id)
    old = state.aside.get(message_id) if at < 0 else state.messages[at]
    if old is None:
        return state
    message = make(old)
    if message is old:
        return state
    if at < 0:
        return replace(state, aside={**state.aside, message_id: message})
    return replace(state, messages=(*state.messages[:at], message, *state.messages[at + 1 :]))


# --- people


def _read(state: Known, page: Json) -> Known:
    """What pages say beside their messages. Their turns may have gone on meanwhile."""
    still = {turn["message_id"] for turn in state.turns}
    ended = [each for each in page.get("unanswered", ()) if each["message_id"] not in still]
    return turns.unanswered_in(_learned(state, page.get("users")), ended)


def _learned(state: Known, users: Mapping[str, Json] | None) -> Known:
    return replace(state, users={**state.users, **users}) if users else state


def _silent(state: Known, user: str) -> Known:
    if user not in state.typing:
        return state
    return replace(state, typing=tuple(each for each in state.typing if each != user))


def _present(state: Known, user: str, status: str) -> Known:
    if status == "offline":
        return replace(_silent(state, user), online=_without(state.online, user))
    return (
        state if state.online.get(user) == status else replace(state, online={**state.online, user: status})
    )


def _seq_of(state: Known, message_id: str) -> int | None:
    message = find(state, message_id)
    return by_seq(message) if message else None


def _without(given: dict[str, T], *names: str) -> dict[str, T]:
    return {name: value for name, value in given.items() if name not in names}


EVENTS: dict[str, Callable[[Known, Json], Known]] = {
    "message": _said,
    "message_updated": _put,
    "message_deleted": _deleted,
    "stream_start": _begins,
    "stream_chunk": _grows("stream_chunk"),
    "stream_delta": _grows("stream_delta"),
    "stream_part": _grows("stream_part"),
    "stream_end": _ends,
    "agent_status": _does,
    "turn": _turned,
    "read": _was_read,
    "typing": _types,
    "presence": _presence,
    "system": _system,
    "session": _session,
}

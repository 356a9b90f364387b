"""One session as its reader sees it: an observable store, and what one can do there. Knows no transport."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from parley_client import merge, wire
from parley_client.errors import Json, ParleyError
from parley_client.home import Home
from parley_client.known import EMPTY, Known, find, key_of
from parley_client.observable import Observable
from parley_client.parts import derived, text_of
from parley_client.pending import Waiting
from parley_client.rest import path_of
from parley_client.shown import Connection, FoundPage, PendingMessage, SessionState, Underway, UploadedFile
from parley_client.uploading import Luggage, uploaded

#: Messages of a page: of what changed, of the path, and of older ones.
CHANGES, PATH, PAGE = 500, 200, 50
#: Seconds: how long a session that nobody looks at stays joined; between two words of typing (the server
#: forgets after six); until what failed is asked for again.
LINGER, TYPING, AGAIN = 5.0, 3.0, 1.0

Busy = Literal["interrupt", "parallel", "queue", "reject", "steer"]
_SHOWN = tuple(field.name for field in fields(Known) if field.name in SessionState.__dataclass_fields__)


class SessionStore(Observable[SessionState]):
    """Joined while somebody subscribes to it, and for some seconds more."""

    def __init__(self, home: Home, id: str) -> None:
        self.id = id
        self._home = home
        self._state = EMPTY
        self._has_joined = False  # there has been a snapshot
        self._pending: list[tuple[Waiting, PendingMessage]] = []
        self._uploads: tuple[Underway, ...] = ()
        self._connection: Connection = "connecting"
        self._error: ParleyError | None = None
        self._busy: set[str] = set()  # what is being asked for
        self._reading = 0  # up to here it is said, or being said, that one has read
        self._typed: float | None = None  # when it was last said that one types
        self._timer: asyncio.TimerHandle | None = None
        super().__init__(self._as_shown())

    # --- what one does

    def send(
        self,
        content: str | None = None,
        *,
        parts: Sequence[Mapping[str, Any]] | None = None,
        client_message_id: str | None = None,
        **more: Any,
    ) -> "asyncio.Future[wire.SentReply]":
        """A text, or parts; `more` as the command `message` takes it (`reply`, `when_busy`, `metadata`, …).

        Shown at once, kept, and sent once and in order; await it for the server's reply: it is committed.
        """
        given = {"content": content, "parts": None if parts is None else list(parts)}
        said = {name: value for name, value in given.items() if value is not None}
        self._typed = None
        self._home.open()
        id = client_message_id or str(uuid.uuid4())
        return self._home.box.add(self.id, {"client_message_id": id, **said, **more})

    def retry(self, client_message_id: str) -> None:
        """A pending message that was refused, once more, behind all others."""
        self._home.box.retry(client_message_id)

    def discard(self, client_message_id: str) -> bool:
        """A pending message that was refused, or not tried yet. False where it may be at the server."""
        return self._home.box.discard(client_message_id)

    async def stop(self, message_id: str | None = None) -> wire.StreamCancelReply | None:
        """An answer, or a question that has none yet, by its id; without one the newest."""
        message_id = message_id or self._stoppable()
        if message_id is None:
            return None
        return cast(wire.StreamCancelReply, await self._call("stream_cancel", message_id=message_id))

    async def edit(
        self, message_id: str, content: str, *, branch: bool = False, **more: Any
    ) -> wire.EditedReply:
        """With `branch` beside the old version, and answered anew; `more`: `reply`, `when_busy`, `tools`."""
        beside = {"branch": True, "client_message_id": str(uuid.uuid4())} if branch else {}
        said = {"message_id": message_id, "content": content, **beside, **more}
        return cast(wire.EditedReply, await self._call("edit", **said))

    async def remove(self, message_id: str) -> wire.ChangedReply:
        return cast(wire.ChangedReply, await self._call("delete", message_id=message_id))

    async def regenerate(self, message_id: str, **more: Any) -> wire.RegenerateReply:
        """`more`: `when_busy`, `tools`."""
        return cast(wire.RegenerateReply, await self._call("regenerate", message_id=message_id, **more))

    async def select(self, message_id: str, *, exact: bool = False) -> wire.SelectReply:
        """Another version of a message is shown, and what follows it: to everybody. With `exact` only up to
        this message."""
        more = {"exact": True} if exact else {}
        reply = await self._call("select", message_id=message_id, **more)
        self._update(replace(self._state, branched=True, stale=True))
        return cast(wire.SelectReply, reply)

    async def answer(
        self,
        message_id: str,
        interrupt_id: str,
        status: Literal["resolved", "cancelled"] = "resolved",
        payload: Any = None,
    ) -> wire.AnswerReply:
        """What a message asks for. The first answer counts: `CONFLICT` for a later one."""
        said = {"message_id": message_id, "interrupt_id": interrupt_id, "status": status}
        given = {} if payload is None else {"payload": payload}
        own = {"client_message_id": str(uuid.uuid4())}
        return cast(wire.AnswerReply, await self._call("answer", **said, **given, **own))

    async def feedback(
        self, message_id: str, value: Literal["up", "down"] | None, comment: str | None = None
    ) -> wire.FeedbackReply:
        given = await self._call("feedback", message_id=message_id, value=value, comment=comment)
        self._update(merge.thought(self._state, given))
        return cast(wire.FeedbackReply, given)

    def typing(self, is_typing: bool = True) -> None:
        """Call it at each key: it is said now and then. `False`: no more."""
        now, before = asyncio.get_running_loop().time(), self._typed
        known = before is not None and now - before < TYPING if is_typing else before is None
        if self._connection != "online" or known:
            return
        self._typed = now if is_typing else None
        self._home.tell("typing", {"session_id": self.id, "is_typing": is_typing})

    async def mark_read(self, seq: int | None = None) -> None:
        """Everything that is shown, or up to `seq`, has been read. What fails is said with the next call."""
        messages, me = self._state.messages, self._home.me or ""
        if seq is None:
            seq = messages[-1]["seq"] if messages else 0
        if seq <= max(self._reading, self._state.read_marks.get(me, 0)) or self._connection != "online":
            return
        self._reading = seq
        try:
            reply = await self._call("read", seq=seq)
        except ParleyError:
            self._reading = 0
            return
        self._home.was_read(self.id, reply["unread_count"])
        self._update(merge.event(self._state, "read", {"user_id": self._home.me, "seq": seq}))

    async def load_older(self, limit: int = PAGE) -> None:
        async def older() -> None:
            state = self._state
            if not state.messages or not state.has_older:
                return
            first = state.messages[0]["seq"]
            page = await self._call("history", before_seq=first, limit=limit)
            if self._state.messages and self._state.messages[0]["seq"] == first:
                self._update(merge.older(self._state, page))

        await self._once("older", older)

    async def search(self, q: str, *, limit: int | None = None, cursor: str | None = None) -> FoundPage:
        return await self._home.search(q, session_id=self.id, limit=limit, cursor=cursor)

    async def upload(
        self,
        file: str | Path | bytes,
        *,
        message: str | None = None,
        name: str | None = None,
        post: bool = True,
        **more: Any,
    ) -> UploadedFile:
        """Uploads a file on the disk, or these bytes, and says it: with `message`, and whatever else `send`
        takes. With `post=False` it is uploaded alone. `uploads` has how far it is."""
        luggage = await asyncio.to_thread(Luggage, file, name)
        entry = Underway(str(uuid.uuid4()), luggage.name, luggage.size)
        rest = self._home.rest

        def shown(sent: int) -> None:
            self._upload_is(entry.id, replace(entry, sent=sent))

        self._uploads = (*self._uploads, entry)
        self._show()
        try:
            url = rest.base + path_of(self.id, "/files")
            answer = await rest.authorized(lambda token: uploaded(rest.http, url, token, luggage, shown))
        finally:
            self._upload_is(entry.id, None)
        kind = answer["file_info"]["type"]
        part = {"type": "file", "file_id": answer["file_id"], "name": luggage.name, "media_type": kind}
        if post:
            said = [{"type": "text", "text": message}] if message else []
            await self.send(parts=[part, *said], **more)
        return cast(UploadedFile, answer)

    async def reopen(self) -> None:
        """Once more, where it was refused; where it has ended its owner opens it again."""
        if self._connection == "ended":
            await self._home.activate(self.id)
        self.told("connecting")
        self._home.enter(self)

    # --- what transports tell

    def _started(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._home.enter(self)

    def _ended(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LINGER, self._home.leave, self)

    def cursor(self) -> Json:
        """What to join with, so that what is known stays."""
        if not self._has_joined:
            return {}
        after = {"after_revision": self._state.revision, "limit": CHANGES}
        return after if self._state.lineage is None else {**after, "lineage": self._state.lineage}

    def joined(self, reply: Json, resumed: bool) -> None:
        """The reply to `join`; `resumed`: to what `cursor` said."""
        self._has_joined = True
        self._connection, self._error = "online", None
        self._update(merge.joined(self._state, reply, resumed))
        self._home.box.settled(self.id)
        for message in reply["messages"]:
            self._arrived(message)

    def told(self, word: str, error: ParleyError | None = None) -> None:
        self._connection, self._error = cast(Connection, word), error
        self._typed = None
        self._update(self._state if word == "online" else merge.away(self._state))

    def refused(self, error: ParleyError) -> None:
        """A join was refused: what has ended can be read all the same."""
        ended = error.code in ("SESSION_ARCHIVED", "SESSION_EXPIRED")
        self.told("ended" if ended else "refused", error)
        if ended and not self._has_joined:
            self._home.errands.run(self._read())

    async def _read(self) -> None:
        rest = self._home.rest
        try:
            session = await rest.call("GET", path_of(self.id))
            page = await rest.call("GET", path_of(self.id, "/messages"))
        except ParleyError as error:
            self.told("refused", error)
            return
        users = {**session.get("users", {}), **page.get("users", {})}
        nobody: Json = {"online": [], "read_marks": {}, "streams": []}
        self._update(merge.joined(self._state, {"session": session, **nobody, **page, "users": users}, False))

    def event(self, name: str, data: Json) -> None:
        if name == "session" and data["event"] == "reset":
            self._has_joined = False  # the database went back: the whole session again
            self._home.enter(self)
            return
        self._update(merge.event(self._state, name, data))
        if name == "message":
            self._arrived(data)
        if name != "session":
            return
        if data["event"] in ("archived", "expired"):
            self.told("ended", _ending_of(data["event"]))
        if data["event"] == "removed" and data.get("user_id", self._home.me) == self._home.me:
            self.told("refused", _ending_of("removed"))

    def waits(self, items: Sequence[Waiting]) -> None:
        """What is pending in this session."""
        known = {id(item): shown for item, shown in self._pending}
        me = self._home.me
        self._pending = [(item, known.get(id(item)) or _pending_of(item, me)) for item in items]
        self._show()

    def knows(self, message_id: str) -> bool:
        return find(self._state, message_id) is not None

    # --- inside

    async def _call(self, name: str, **payload: Any) -> Json:
        return await self._home.call(name, {"session_id": self.id, **payload})

    def _stoppable(self) -> str | None:
        state = self._state
        for message in reversed(state.messages):
            if message["status"] == "streaming":
                return str(message["message_id"])
        if state.turns:
            return str(state.turns[0]["message_id"])
        last = state.messages[-1] if state.messages else None
        asked = last and state.session and state.session.get("agent") and last["sender_type"] == "user"
        return str(last["message_id"]) if last and asked else None

    def _arrived(self, message: Json) -> None:
        """One's own message, of which this program may not know that it was sent."""
        id = message.get("client_message_id")
        if id and key_of(message) == self._home.me:
            reply = {name: message[name] for name in ("message_id", "seq", "created_at")}
            self._home.box.arrived(id, {"ok": True, **reply})

    def _upload_is(self, id: str, now: Underway | None) -> None:
        others = ((now if each.id == id else each) for each in self._uploads)
        self._uploads = tuple(each for each in others if each is not None)
        self._show()

    def _update(self, state: Known) -> None:
        self._state = state
        self._show()
        if self._connection == "online":
            self._follow()

    def _show(self) -> None:
        self._set(self._as_shown())

    def _as_shown(self) -> SessionState:
        shown: dict[str, Any] = {name: getattr(self._state, name) for name in _SHOWN}
        return SessionState(
            id=self.id,
            me=self._home.me,
            connection=self._connection,
            error=self._error,
            pending=tuple(shown for _, shown in self._pending),
            uploads=self._uploads,
            **shown,
        )

    def _follow(self) -> None:
        """What the state lacks is asked for: the rest of what changed, the path, the texts of streams."""
        state = self._state
        if state.behind:
            self._later("changes", self._changes)
        elif state.stale:
            self._later("path", self._path)
        for message_id in state.holes:
            self._later(message_id, partial(self._refill, message_id))

    def _later(self, kind: str, act: Callable[[], Awaitable[None]]) -> None:
        if kind not in self._busy:
            self._home.errands.run(self._once(kind, act))

    async def _changes(self) -> None:
        state = self._state
        cursor = self.cursor()
        page = await self._call("history", **cursor)
        if page.get("reset"):
            self.event("session", {"event": "reset"})
            return
        for message in page["messages"]:
            self._arrived(message)
        if self._state.lineage == state.lineage:
            self._update(merge.changed(self._state, page))

    async def _path(self) -> None:
        lineage = self._state.lineage
        self._state = replace(self._state, stale=False)
        try:
            page = await self._call("history", limit=PATH)
        except ParleyError:
            self._state = replace(self._state, stale=True)
            raise
        if self._state.lineage == lineage:
            self._update(merge.path(self._state, page))

    async def _refill(self, message_id: str) -> None:
        try:
            reply = await self._call("stream_resume", message_id=message_id, from_index=0)
        except ParleyError as error:
            if error.retryable:
                raise
            holes = tuple(each for each in self._state.holes if each != message_id)
            self._state = replace(self._state, holes=holes)
            return
        self._update(merge.refilled(self._state, message_id, reply))

    async def _once(self, kind: str, act: Callable[[], Awaitable[None]]) -> None:
        """One of a kind at a time; what failed is tried again while the session is online."""
        if kind in self._busy:
            return
        self._busy.add(kind)
        try:
            await act()
        except ParleyError as error:
            if kind == "older":
                raise
            await asyncio.sleep(error.pause(AGAIN))
        finally:
            self._busy.discard(kind)
        if self._connection == "online" and kind != "older":
            self._follow()


def _ending_of(event: str) -> ParleyError:
    """An end as the error that a join would have: "archived", "expired" or "removed"."""
    code = "NOT_FOUND" if event == "removed" else event.upper()
    return ParleyError(f"SESSION_{code}", f"The session is {event}")


def _pending_of(item: Waiting, me: str | None) -> PendingMessage:
    """A pending message as it will look, with its fate as its `status`."""
    said = item.payload.get("parts")
    given = derived(item.payload.get("content")) if said is None else said
    parts = [{"id": str(at), **part} for at, part in enumerate(given)]
    content = item.payload.get("content")
    return {
        "client_message_id": item.id,
        "session_id": item.session_id,
        "sender_type": "user",
        "sender_id": me,
        "created_at": item.at,
        "status": cast(Any, item.state),
        "content": text_of(parts) if content is None else content,
        "parts": parts,
        "error": item.error,
    }

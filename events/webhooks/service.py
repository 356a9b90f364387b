"""Webhooks as a backend makes and looks at them. Knows no transport and no SQL."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from events.agents.upstreams import Refused, Upstreams, split
from events.clock import Clock, rfc3339, when
from events.errors import Conflict, LimitReached, SessionNotFound, ValidationFailed, WebhookNotFound
from events.ids import new_id
from events.schema import SessionId
from events.webhooks.envelopes import EVENTS
from events.webhooks.signatures import key_of, new_secret
from events.webhooks.teller import Teller
from storage.errors import CapReached
from storage.sessions import Sessions
from storage.telling import TellingStore
from storage.webhooks import WebhookRecord, Webhooks

#: Webhooks of all sessions, of one session, and in all.
OF_ALL, OF_SESSION, MOST = 20, 5, 1000
#: Seconds for which a secret that was replaced signs too.
ROTATION: Final = 86400.0
#: Messages before the place of a replay that are told anew as new ones.
REPLAYED: Final = 500

Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Secret = Annotated[str, Meta(min_length=1, max_length=200)]
Events = Annotated[
    list[Literal["message", "message_updated", "stream_end", "interrupt", "session", "feedback"]],
    Meta(min_length=1, max_length=20),
]


class NewWebhook(Struct, kw_only=True):
    """`session_id`: of this session alone. `events`: all, where it does not say. `secret`: one is made, where
    it does not say."""

    url: Url
    session_id: SessionId | None = None
    events: Events | None = None
    secret: Secret | None = None


class ChangedWebhook(Struct, kw_only=True):
    """`is_active: true` begins again with one that was disabled: from where it was."""

    url: Url | None = None
    events: Events | None = None
    is_active: bool | None = None


class RotatedSecret(Struct, kw_only=True):
    """The one before signs too for a day."""

    secret: Secret | None = None


class ReplayWebhook(Struct, kw_only=True):
    """Tells a session again, from behind this revision on, under the same ids."""

    session_id: SessionId
    after_revision: Annotated[int, Meta(ge=0)] = 0


class DeliveriesQuery(Struct, kw_only=True):
    state: Literal["failing", "dead", "all"] = "failing"
    cursor: Annotated[str, Meta(max_length=100)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 100


class WebhookView(Struct, kw_only=True):
    """`error`: why it failed last, or was disabled. `secret` where it was made just now."""

    webhook_id: str
    session_id: str | None
    url: str
    events: list[str]
    is_active: bool
    created_at: str
    failing_since: str | None
    error: str | None
    secret: str | UnsetType = UNSET


class WebhookList(Struct):
    webhooks: list[WebhookView]


class DeliveryLine(Struct, kw_only=True):
    """`state` "told": the session was told up to `revision`, at `at`. "failing": what follows it is tried
    again. "dead": the event `id` was given up."""

    session_id: str
    state: Literal["told", "failing", "dead"]
    revision: int
    attempts: int
    error: str | None
    at: str | None
    id: str | UnsetType = UNSET
    event: str | UnsetType = UNSET


class DeliveriesPage(Struct):
    deliveries: list[DeliveryLine]
    has_more: bool
    cursor: str | None


class WebhookService:
    """One per node. Every method raises Unavailable, and WebhookNotFound where there is no such webhook."""

    def __init__(
        self,
        store: Webhooks,
        telling: TellingStore,
        sessions: Sessions,
        teller: Teller,
        upstreams: Upstreams,
        clock: Clock,
        tell_nodes: Callable[[], None],
    ) -> None:
        """`tell_nodes`: the other nodes look which webhooks there are."""
        self._store, self._telling, self._sessions, self._teller = store, telling, sessions, teller
        self._upstreams, self._clock, self._tell_nodes = upstreams, clock, tell_nodes

    async def add(self, new: NewWebhook) -> WebhookView:
        """Raises ValidationFailed, SessionNotFound, LimitReached."""
        self._check_url(new.url)
        secret = self._secret(new.secret)
        if new.session_id is not None and await self._sessions.get(new.session_id) is None:
            raise SessionNotFound
        now = when(self._clock())
        record = WebhookRecord(
            webhook_id=new_id("wh"),
            session_id=new.session_id,
            url=new.url,
            events=_sorted(new.events or EVENTS),
            secret=secret,
            old_secret=None,
            old_until=None,
            is_active=True,
            created_at=now,
            failing_since=None,
            error=None,
            swept_at=now,
        )
        most = OF_ALL if new.session_id is None else OF_SESSION
        try:
            await self._store.add(record, most, MOST)
        except CapReached as error:
            raise LimitReached(f"at most {error.most} webhooks", details={"limit": error.most}) from error
        await self._told()
        return _view(record, secret=secret)

    async def listed(self, session_id: str | None) -> WebhookList:
        """Those of a session, or of all sessions."""
        records = await self._store.all()
        return WebhookList([_view(record) for record in records if record.session_id == session_id])

    async def get(self, webhook_id: str) -> WebhookView:
        return _view(await self._found(webhook_id))

    async def change(self, webhook_id: str, changed: ChangedWebhook) -> WebhookView:
        """Raises ValidationFailed."""
        changes: dict[str, Any] = {}
        if changed.url is not None:
            self._check_url(changed.url)
            changes["url"] = changed.url
        if changed.events is not None:
            changes["events"] = _sorted(changed.events)
        if changed.is_active is not None:
            changes |= {"is_active": changed.is_active, "failing_since": None, "error": None}
        record = await self._found(webhook_id)
        if changes:
            record = await self._update(webhook_id, **changes)
        return _view(record)

    async def rotate(self, webhook_id: str, given: RotatedSecret) -> WebhookView:
        """Raises ValidationFailed; Conflict: this secret is in use."""
        secret, record = self._secret(given.secret), await self._found(webhook_id)
        if secret in (record.secret, record.old_secret):
            raise Conflict("this secret is in use")
        until = when(self._clock() + ROTATION)
        record = await self._update(webhook_id, secret=secret, old_secret=record.secret, old_until=until)
        return _view(record, secret=secret)

    async def delete(self, webhook_id: str) -> None:
        if not await self._store.delete(webhook_id):
            raise WebhookNotFound
        await self._told()

    async def replay(self, webhook_id: str, replay: ReplayWebhook) -> None:
        """Raises SessionNotFound, ValidationFailed."""
        record = await self._found(webhook_id)
        if record.session_id not in (None, replay.session_id):
            raise ValidationFailed("is not this webhook's", field="session_id")
        session = await self._sessions.get(replay.session_id)
        if session is None:
            raise SessionNotFound
        after = min(replay.after_revision, session.last_revision)
        await self._telling.replay(webhook_id, replay.session_id, after, REPLAYED)
        self._teller.again(webhook_id, replay.session_id)

    async def deliveries(self, webhook_id: str, query: DeliveriesQuery) -> DeliveriesPage:
        """Raises ValidationFailed."""
        await self._found(webhook_id)
        if query.state == "dead":
            lines, places = await self._dead(webhook_id, query)
        else:
            failing = query.state == "failing"
            rows = await self._telling.page(webhook_id, query.cursor or "", query.limit + 1, failing=failing)
            lines = [_line(*row) for row in rows]
            places = [line.session_id for line in lines]
        more = len(lines) > query.limit
        lines = lines[: query.limit]
        return DeliveriesPage(lines, more, places[query.limit - 1] if more else None)

    async def _dead(
        self, webhook_id: str, query: DeliveriesQuery
    ) -> tuple[list[DeliveryLine], Sequence[str]]:
        try:
            before = msgspec.convert(query.cursor or 2**62, int, strict=False)
        except msgspec.ValidationError as error:
            raise ValidationFailed("is not one of ours", field="cursor") from error
        rows = await self._telling.dead(webhook_id, min(before, 2**62), query.limit + 1)
        lines = [
            DeliveryLine(
                session_id=room, state="dead", revision=revision, attempts=attempts, error=error,
                at=rfc3339(at), id=name, event=event,
            )
            for _, _, room, name, event, revision, attempts, error, at in rows
        ]  # fmt: skip
        return lines, [str(row[0]) for row in rows]

    # --- what they have in common

    async def _found(self, webhook_id: str) -> WebhookRecord:
        record = await self._store.get(webhook_id)
        if record is None:
            raise WebhookNotFound
        return record

    async def _update(self, webhook_id: str, **changes: Any) -> WebhookRecord:
        record = await self._store.update(webhook_id, **changes)
        if record is None:
            raise WebhookNotFound
        await self._told()
        return record

    async def _told(self) -> None:
        await self._teller.refresh()
        self._tell_nodes()

    def _check_url(self, url: str) -> None:
        try:
            origin, _ = split(url)
        except ValueError as error:
            raise ValidationFailed(str(error), field="url", joint=" ") from error
        try:
            self._upstreams.check(origin, None, ("url", ""))
        except Refused as error:
            raise ValidationFailed(str(error).removeprefix("url: "), field="url") from error

    @staticmethod
    def _secret(given: str | None) -> str:
        if given is None:
            return new_secret()
        try:
            key_of(given)
        except ValueError as error:
            raise ValidationFailed(str(error), field="secret", joint=" ") from error
        return given


def _sorted(events: Sequence[str]) -> list[str]:
    return [event for event in EVENTS if event in events]


def _view(record: WebhookRecord, secret: str | UnsetType = UNSET) -> WebhookView:
    return WebhookView(
        webhook_id=record.webhook_id,
        session_id=record.session_id,
        url=record.url,
        events=record.events,
        is_active=record.is_active,
        created_at=rfc3339(record.created_at),
        failing_since=rfc3339(record.failing_since) if record.failing_since else None,
        error=record.error,
        secret=secret,
    )


def _line(
    room: str, revision: int, attempts: int, error: str | None, told_at: datetime | None, _: object
) -> DeliveryLine:
    return DeliveryLine(
        session_id=room,
        state="failing" if attempts else "told",
        revision=revision,
        attempts=attempts,
        error=error,
        at=rfc3339(told_at) if told_at else None,
    )

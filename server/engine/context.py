"""What all sessions of one server share: times and limits, the wheel, and whom a session calls.

Knows no session: the callbacks get theirs back.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from events.outbox import Flusher
from server.engine.heartbeat import Wheel
from server.engine.lastwords import LastWords
from server.engine.strangers import Strangers

#: What has to be awaited before the next packet of the connection is handled.
Work = Coroutine[Any, Any, None]
#: (session, packet): an Engine.IO MESSAGE with its "4", or a binary message.
Incoming = Callable[[Any, bytes], Work | None]


class Context:
    """`message` and `attachment` take what comes in; `too_big` gets the beginning of a message beyond its
    limit and its size, before its session ends; `ended` is called once for each session, with the reason.
    `stranger_limit` is for a message's bytes from who has not shown who it is, `max_size` from anybody else.
    Times are in seconds."""

    __slots__ = (
        "_tasks",
        "attachment",
        "connect_timeout",
        "ended",
        "first_deadline",
        "flusher",
        "last_words",
        "log",
        "max_size",
        "message",
        "outbox_limit",
        "ping_interval",
        "ping_timeout",
        "stranger_limit",
        "strangers",
        "tick",
        "too_big",
        "wheel",
    )  # fmt: skip

    def __init__(
        self,
        *,
        message: Incoming,
        attachment: Incoming,
        too_big: Callable[[Any, bytes, int], None],
        ended: Callable[[Any, str], asyncio.Task[None]],
        flusher: Flusher,
        outbox_limit: int,
        connect_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        max_size: int,
        stranger_limit: int | None,
        strangers: Strangers | None,
    ) -> None:
        self.message, self.attachment, self.too_big, self.ended = message, attachment, too_big, ended
        self.flusher, self.outbox_limit, self.connect_timeout = flusher, outbox_limit, connect_timeout
        self.ping_interval, self.ping_timeout = ping_interval, ping_timeout
        #: Seconds until a new session is looked at: who is in no namespace by then is closed.
        self.first_deadline = min(ping_interval, connect_timeout)
        self.max_size, self.stranger_limit = max_size, stranger_limit or max_size
        self.strangers = strangers
        self.log = logging.getLogger("parley.engine")
        #: A deadline comes up to so much early.
        self.tick = min(1.0, max(0.005, min(ping_interval, ping_timeout) / 25))
        self.wheel = Wheel(self.tick)
        self.last_words = LastWords(ping_timeout)
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    def run(self, work: Work) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

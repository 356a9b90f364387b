"""How a stream's end gets into the database, whatever happens there. Knows no pieces and no log."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from events.clock import Clock
from events.errors import Internal
from events.storable import storable
from events.stream import tokens
from storage.errors import StorageError, StorageUnavailable, StreamNotOpen
from storage.messages import Messages as Store
from storage.ops import Committed, EndStream
from storage.writer import Writer

log = logging.getLogger("parley.streams")


class StreamEnds:
    def __init__(self, writer: Writer, store: Store, clock: Clock) -> None:
        self._writer, self._store, self._clock = writer, store, clock
        self.stopping = False  # the database is not waited for any more

    async def commit(self, op: EndStream) -> Committed:
        """Until the database takes it: an answer that was given is not lost because SQL is away.

        One that no database can hold ends all the same, as failed, instead of staying open for its lease.
        """
        delay, doubtful, given = 0.1, False, op
        while True:
            try:
                return await self._writer.submit(op)
            except StorageUnavailable:
                if self.stopping:
                    raise
                doubtful = True
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)
            except StreamNotOpen as error:
                # What failed may have been committed all the same.
                record = await self._store.get(op.message_id) if doubtful else None
                if record is None or (error.status, record.content) != (op.status, op.content):
                    raise
                return Committed(op, record, True, record.seq, record.revision)
            except StorageError as error:
                if type(error) is not StorageError or op is not given:
                    raise
                log.error("the end of %s cannot be stored as it is: %s", op.message_id, error)
                op = _storable(op)

    def counted(self, said: Mapping[str, Any], text: str, started_at: float, told: int = 0) -> dict[str, Any]:
        """What a producer did not say of tokens and time is counted. `told`: tokens that the answer's model
        was told."""
        counted = dict(said)
        if counted.get("tokens_used") is None:
            total = (counted.get("usage") or {}).get("total_tokens")
            counted["tokens_used"] = told + tokens(text) if total is None else total
        if counted.get("latency_ms") is None:
            counted["latency_ms"] = max(0, round((self._clock() - started_at) * 1000))
        return counted


def _storable(op: EndStream) -> EndStream:
    """A failed end with what was written alone, without what no database takes: NUL and lone surrogates."""
    error = {"code": Internal.code, "message": Internal.message}
    content, parts = storable(op.content or ""), storable(op.parts)
    return EndStream(op.session_id, op.message_id, "failed", content=content, parts=parts, error=error)

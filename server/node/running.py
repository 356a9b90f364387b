"""Starts a node in order, and stops it in the reverse order: each step says both."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from events.janitor import Janitor, Job
from migrations.revisions import revisions
from server.agents import ensure_given, warn_of_unable
from server.closing import drain
from server.config_values import masked
from server.node.build import Node
from server.node.jobs import jobs_of
from storage.copying import ensure_whole
from storage.database import Database
from storage.errors import StorageError
from storage.revision import ensure_migrated

log = logging.getLogger("parley.node")


class CannotServe(Exception):
    """A node that cannot start; the log has said why, in one line."""


@asynccontextmanager
async def running(
    node: Node, *others: AbstractAsyncContextManager[None], jobs: Iterable[Job] = ()
) -> AsyncIterator[None]:
    """`others` run while the node does, with further `jobs`. Raises CannotServe."""
    async with AsyncExitStack() as stack:
        await _grounds(node, stack)
        for other in others:
            await stack.enter_async_context(other)
        await _conversations(node, stack)
        janitor = Janitor([*jobs_of(node), *jobs])
        janitor.start()
        stack.push_async_callback(janitor.stop)
        # Heartbeat and leases go on until the answers that run here are done.
        stack.push_async_callback(node.writing.leases.finish, node.core.settings.shutdown_grace)
        stack.push_async_callback(_end_connections, node)
        yield


async def _grounds(node: Node, stack: AsyncExitStack) -> None:
    """The base of everything else."""
    settings, stores = node.core.settings, node.stores
    try:
        await _open(stores.database)
    except CannotServe as error:
        log.error("%s (%s)", error, masked(settings.database_url, secret=True))
        raise
    stack.callback(log.info, "stopped")
    stack.push_async_callback(stores.database.disconnect)
    stack.push_async_callback(_write_activity, node)
    await stores.time.look()
    await ensure_given(stores.agents, settings)
    await warn_of_unable(stores.agents, node.answers.kinds)
    stack.push_async_callback(node.delivering.backends.close)
    for kind in node.answers.kinds.values():
        stack.push_async_callback(kind.close)
    if (stall := node.members.stall) is not None:
        # Before the writer, and to its end: a process that seems to have stood still writes nothing.
        await stall.start()
        stack.push_async_callback(stall.stop)


async def _conversations(node: Node, stack: AsyncExitStack) -> None:
    node.writing.writer.start()
    stack.push_async_callback(node.writing.writer.stop)
    stack.push_async_callback(node.members.presence.goodbye)
    stack.push_async_callback(node.core.tasks.drain)
    stack.push_async_callback(node.joins.healer.stop)
    await node.joins.healer.start()
    stack.callback(node.members.presence.stop)
    stack.callback(node.members.typing.stop)
    stack.push_async_callback(node.answers.replies.stop)
    stack.push_async_callback(node.answers.answering.close)
    await node.answers.answering.learn()
    if node.delivering.outage is None:
        # Nobody else can be writing what a former process left open.
        await node.writing.leases.interrupt_lapsed(grace=0.0)
    else:
        await node.members.presence.beat_at_once()


async def _end_connections(node: Node) -> None:
    node.admission.draining = True
    node.answers.answering.drain()
    await drain(node.services)


async def _write_activity(node: Node) -> None:
    try:
        await node.members.sessions.touches.flush(everything=True)
    except Exception:
        log.exception("activity could not be written")


async def _open(database: Database) -> None:
    """Raises CannotServe."""
    try:
        await database.connect()
    except StorageError as error:
        raise CannotServe(f"the database cannot be reached: {error}") from error
    try:
        await ensure_migrated(database, revisions())
        await ensure_whole(database)
    except StorageError as error:
        await database.disconnect()  # its threads would keep the process
        raise CannotServe(f"the database cannot be served: {error}") from error

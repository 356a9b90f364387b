"""Builds the features besides conversations: files, search, the service API, pages."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from events.files import FileService
from events.indexer import Indexer
from events.listing import Listing
from events.retention import Retention
from events.search import SearchService
from events.tallier import Tallier
from server.downloads import Downloads
from server.metrics import Metrics
from server.node.build import Node
from server.node.core import signer
from server.node.telling import Hooks, build_hooks
from server.readiness import Readiness
from server.service import ServiceApi
from server.vendor import Vendor
from storage.listed import Listed
from storage.search import Search
from storage.turns import Turns

#: What `make run` fetches lands there.
VENDOR = Path("data/vendor")


@dataclass(frozen=True)
class Features:
    files: FileService
    search: SearchService
    indexer: Indexer
    tallier: Tallier
    listing: Listing
    retention: Retention
    hooks: Hooks
    service: ServiceApi
    downloads: Downloads
    vendor: Vendor
    metrics: Metrics
    readiness: Readiness


def build_features(node: Node, metrics: Metrics) -> Features:
    turns = Turns()
    index = Search(node.stores.database, turns)
    indexer, tallier = Indexer(index), Tallier(node.stores.tallies)
    for follower in (indexer.on_committed, tallier.on_committed, node.members.file_care.on_committed):
        node.core.after_commit.follow(follower)
    settings, sessions, hooks = node.core.settings, node.members.sessions, build_hooks(node)
    return Features(
        files=_files(node),
        search=SearchService(index, sessions, signer(settings, "search"), turns, node.gate.names.of),
        indexer=indexer,
        tallier=tallier,
        listing=Listing(Listed(node.stores.database)),
        retention=Retention(sessions, settings.session_retention_days),
        hooks=hooks,
        service=ServiceApi(node, hooks.teller),
        downloads=Downloads(),
        vendor=Vendor(VENDOR),
        metrics=metrics,
        readiness=Readiness(node),
    )


def _files(node: Node) -> FileService:
    settings, stores = node.core.settings, node.stores
    return FileService(
        stores.files,
        stores.contents,
        node.members.sessions,
        node.writing.messages,
        node.gate.limits,
        stores.pictures,
        signer(settings, "files"),
        node.members.file_care,
        node.answers.answering.asks,
        stores.clock,
        max_size=settings.max_file_size,
        max_beside=settings.ws_message_size_limit,
        processes=node.core.processes,
        allowed=settings.allowed_file_types,
        url_ttl=settings.file_url_ttl,
        root=settings.root_path,
        encodings=settings.text_encodings,
    )


@asynccontextmanager
async def offering(node: Node, features: Features) -> AsyncIterator[None]:
    """Their part of a node's life."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(node.members.file_care.stop)
        stack.push_async_callback(node.gate.names.stop)
        await features.indexer.start()
        stack.push_async_callback(features.indexer.stop)
        await features.tallier.start()
        stack.push_async_callback(features.tallier.stop)
        await features.hooks.teller.start()
        stack.push_async_callback(features.hooks.teller.stop)
        await node.gate.revoked.first()
        await features.vendor.look()
        yield

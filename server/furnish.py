"""What a node offers beside conversations: files, search, the service API. Built on its services."""

from events.filecare import FileCare
from events.files import FileService
from events.indexer import Indexer
from events.janitor import Janitor
from events.names import Names
from events.retention import Retention
from events.search import SearchService
from events.signing import Signer
from server import memory
from server.config import Settings
from server.imaging import Thumbnailer
from server.revoked import DROP, REFRESH
from server.service import ServiceApi
from server.services import Services
from storage.blobs.local import LocalBlobs
from storage.interfaces import BlobStore
from storage.search import Search
from storage.turns import Turns

#: Seconds between looks through all contents for those that no row names: each lists the whole storage.
SWEEP = 6 * 3600.0

#: Seconds between looks for sessions that no node remembers to index.
UNINDEXED = 60.0

#: Seconds until a name is written, and until each is written again: another node may have erased it.
NAMED, FORGOTTEN = 1.0, 3600.0


def furnish(services: Services, janitor: Janitor) -> None:
    _files(services, janitor)
    _search(services, janitor)
    _retention(services, janitor)
    _service(services, janitor)


def _retention(services: Services, janitor: Janitor) -> None:
    settings = services.settings
    retention = Retention(services.sessions, settings.session_retention_days)
    janitor.every(settings.session_cleanup_interval, "retention", retention.run)


def _search(services: Services, janitor: Janitor) -> None:
    turns = Turns()
    store = Search(services.database, turns)
    indexer = Indexer(store)
    services.extras["search"] = SearchService(
        store, services.sessions, signer(services.settings, "search"), turns
    )
    services.extras["search"].called = _names(services, janitor, Names(store.people)).of
    services.after_commit.append(indexer.on_committed)
    services.at_start.append(indexer.start)
    services.at_stop.append(indexer.stop)
    janitor.every(UNINDEXED, "search index", indexer.sweep)


def _names(services: Services, janitor: Janitor, names: Names) -> Names:
    services.extras["names"] = names
    services.authenticator.heard = names.heard
    services.at_stop.append(names.stop)
    janitor.every(NAMED, "names", names.flush)
    janitor.every(FORGOTTEN, "names to write anew", names.forget_all)
    return names


def _files(services: Services, janitor: Janitor) -> None:
    settings = services.settings
    blobs = blob_store(settings)
    care = FileCare(services.files, blobs, services.clock)
    services.extras["files"] = FileService(
        services.files,
        blobs,
        services.sessions,
        services.messages,
        services.limits,
        Thumbnailer(memory.available() // services.processes),
        signer(settings, "files"),
        care,
        services.clock,
        max_size=settings.max_file_size,
        max_beside=settings.ws_message_size_limit,
        processes=services.processes,
        allowed=settings.allowed_file_types,
        url_ttl=settings.file_url_ttl,
        root=settings.root_path,
        encodings=settings.text_encodings,
    )
    services.extras["file_care"] = care
    services.sessions.on_purged = care.on_purged
    services.after_commit.append(care.on_committed)
    services.at_stop.append(care.stop)
    janitor.every(settings.session_cleanup_interval, "files", care.collect)
    janitor.every(SWEEP, "contents", care.sweep)


def blob_store(settings: Settings) -> BlobStore:
    if settings.file_storage_type == "local":
        return LocalBlobs(settings.file_storage_path)
    # Its library is an extra: not there on every installation.
    from storage.blobs.s3 import S3Blobs

    assert settings.s3_bucket_name is not None
    return S3Blobs(
        settings.s3_bucket_name,
        endpoint=settings.s3_endpoint_url,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
    )


def signer(settings: Settings, purpose: str) -> Signer:
    assert settings.secret_key is not None  # `Settings.load` sees to it
    return Signer(settings.secret_key, purpose)


def _service(services: Services, janitor: Janitor) -> None:
    spread = services.settings.redis_url is not None
    services.extras["service"] = ServiceApi(
        services, services.revoked, services.extras["file_care"], services.extras["names"], spread=spread
    )
    services.at_start.append(services.revoked.first)
    janitor.every(REFRESH, "revocations", services.revoked.refresh)
    janitor.every(DROP, "old revocations", services.revoked.drop_old)

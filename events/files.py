"""Files: taking uploads in, handing contents out, signed addresses. What goes away is `events.filecare`'s.

Knows no multipart, no HTTP, no image library and no disk.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from events.access import Caller
from events.bounds import LINK_STORED, OPERATORS, STORED
from events.clock import Clock, rfc3339, when
from events.errors import (
    ChatError,
    FileNotFound,
    PayloadTooLarge,
    SessionNotFound,
    Unavailable,
    UnsupportedFileType,
    ValidationFailed,
)
from events.failures import translate
from events.filecare import FileCare, thumbnail_key
from events.filetypes import HEAD, IMAGES, NO_TEXT, TEXT, TextCheck, display_name, judge
from events.ids import new_id
from events.messages import MessageService
from events.ratelimit import RateLimits
from events.schema import PostFile
from events.sessions import SessionManager
from events.signing import Signer
from events.uploading import Upload, Uploads
from storage import errors as storage_errors
from storage.files import Files
from storage.interfaces import BlobStore
from storage.ops import Addressed, Committed
from storage.records import FileRecord

#: What a thumbnail is, whatever the image was.
THUMBNAIL_TYPE = "image/webp"


class Thumbnails(Protocol):
    """Makes small pictures, off the event loop and in bounded memory."""

    async def make(self, content: AsyncIterator[bytes], media_type: str, owner: str) -> bytes | None:
        """None where the picture is sound, as far as can be told, but cannot be drawn, or not now. Owners
        have their turns one after the other.

        Raises UnsupportedFileType (it is no such picture), PayloadTooLarge (too many pixels).
        """


#: What a caller's message asks in a session with that agent, if it is to be answered.
Question = Callable[[Caller, int | None, bool], Addressed | None]


@dataclass(frozen=True, slots=True)
class SignedUrls:
    """A signed address and when it ends, in epoch seconds. `thumbnail_url` is None without a thumbnail."""

    url: str
    thumbnail_url: str | None
    expires_at: float


class FileService:
    """`max_size` in bytes, `max_beside` of the fields that come with a file, `url_ttl` in seconds, `allowed`
    media types; `processes` share the disk; `root` begins every address; of texts `encodings` are taken
    besides UTF-8."""

    def __init__(
        self,
        files: Files,
        blobs: BlobStore,
        sessions: SessionManager,
        messages: MessageService,
        limits: RateLimits,
        thumbnails: Thumbnails,
        signer: Signer,
        care: FileCare,
        asks: Question,
        clock: Clock,
        *,
        max_size: int,
        max_beside: int,
        processes: int = 1,
        allowed: Sequence[str],
        url_ttl: float,
        root: str = "",
        encodings: Sequence[str] = (),
    ) -> None:
        self._files, self._blobs, self._sessions, self._messages = files, blobs, sessions, messages
        self._limits, self._thumbnails, self._signer, self._clock = limits, thumbnails, signer, clock
        self._care, self._asks, self._encodings = care, asks, tuple(encodings)
        self._uploads, self._beside = Uploads(max_size, processes), Uploads(max_beside, processes)
        self.max_size, self._allowed, self._url_ttl, self._root = max_size, frozenset(allowed), url_ttl, root

    @property
    def uploading(self) -> int:
        """Bytes of uploads under way on this node, and of what comes beside them."""
        return self._uploads.size + self._beside.size

    # --- in

    @contextmanager
    def beside(self, caller: Caller) -> Iterator[Callable[[int], None]]:
        """For what comes with one file, of which no file becomes: to be told of each piece that is kept until
        the end. It raises RateLimited: too much is on its way."""
        with self._beside.begin(caller) as upload:
            yield upload.came

    async def may_upload(self, caller: Caller, session_id: str) -> None:
        """Before a byte is read. Raises SessionNotFound, Forbidden, SessionExpired, SessionArchived,
        PayloadTooLarge (its files are as much as they may be), Unavailable."""
        record, _ = await self._sessions.writable(caller, session_id)
        await self._stored(caller)
        self._sessions.touches.touch(session_id, record.ttl_hours, record.last_activity.timestamp())

    async def _stored(self, caller: Caller) -> int:
        """Bytes of a user's files, where these are limited. Raises PayloadTooLarge: no more go with them."""
        most = self._most_of(caller)
        if most is None:
            return 0
        stored = await self._files.stored_by(caller.key)
        if stored >= most:
            raise STORED.error(most)
        return stored

    def _most_of(self, caller: Caller) -> int | None:
        """Up to how many bytes a caller may fill the files of its identity; None: to any. Those who hold a
        share link leave the rest to the user of that `sub`: rows do not tell whose of the two a file is."""
        most = None if caller.role in OPERATORS else self._limits.most(STORED) or None
        return most if most is None or caller.link is None else most // LINK_STORED

    async def take(
        self, caller: Caller, session_id: str, name: str | None, chunks: AsyncIterator[bytes]
    ) -> FileRecord:
        """Store an upload as it arrives; its row is there when this returns, or nothing is.

        Raises PayloadTooLarge, RateLimited (too much is on its way), UnsupportedFileType, ValidationFailed
        (empty), Unavailable, and what `chunks` raises.
        """
        with self._uploads.begin(caller) as upload:
            upload.within(await self._stored(caller), self._most_of(caller))
            record = await self._take(caller, session_id, name, _counted(chunks, upload))
            upload.kept = True
        return record

    async def _take(
        self, caller: Caller, session_id: str, name: str | None, chunks: AsyncIterator[bytes]
    ) -> FileRecord:
        file_id = new_id("file")
        head = bytearray()
        whole = True
        async for chunk in chunks:
            head += chunk
            if len(head) >= HEAD:
                whole = False
                break
        if not head:
            raise ValidationFailed("the file is empty", field="file")
        media_type = judge(bytes(head[:HEAD]), whole=whole, encodings=self._encodings)
        if media_type not in self._allowed:
            raise UnsupportedFileType(f"{media_type} is not accepted")
        try:
            text = TextCheck(self._encodings) if media_type == TEXT else None
            content = self._checked(bytes(head), chunks, text)
            size = await self._blobs.put(file_id, content, media_type)
            thumbnail = await self._thumbnail(file_id, media_type, caller.key)
            record = FileRecord(
                file_id=file_id,
                session_id=session_id,
                message_id=None,
                file_name=display_name(name),
                file_type=text.media_type if text else media_type,
                file_size=size,
                file_url=f"{self._root}/files/{file_id}",
                thumbnail_url=f"{self._root}/files/{file_id}/thumb" if thumbnail else None,
                uploaded_by=caller.key,
                uploaded_at=when(self._clock()),
            )
            await self._add(record, caller)
        except BaseException:
            # Also those that are not there yet: a cancelled write may still be on its way.
            self._care.drop_later([file_id, thumbnail_key(file_id)])
            raise
        return record

    async def _add(self, record: FileRecord, caller: Caller) -> None:
        try:
            await self._files.add(record, self._most_of(caller))
        except storage_errors.StorageUnavailable:
            raise
        except storage_errors.CapReached as error:
            raise STORED.error(error.most) from error  # others of the same user were faster
        except storage_errors.StorageError as error:
            raise SessionNotFound from error  # erased while the upload was on its way

    async def _checked(
        self, head: bytes, chunks: AsyncIterator[bytes], text: TextCheck | None
    ) -> AsyncIterator[bytes]:
        size = 0

        def check(piece: bytes) -> bytes:
            nonlocal size
            size += len(piece)
            if size > self.max_size:
                raise PayloadTooLarge(f"at most {self.max_size} bytes")
            if text and not text.takes(piece):
                raise UnsupportedFileType(NO_TEXT)
            return piece

        yield check(head)
        async for chunk in chunks:
            yield check(chunk)
        if text and not text.complete():
            raise UnsupportedFileType(NO_TEXT)

    async def _thumbnail(self, file_id: str, media_type: str, owner: str) -> bool:
        if media_type not in IMAGES:
            return False
        picture = await self._thumbnails.make(self._blobs.get(file_id), media_type, owner)
        if picture is None:
            return False
        await self._blobs.put(thumbnail_key(file_id), _once(picture), THUMBNAIL_TYPE)
        return True

    def forget(self, record: FileRecord) -> None:
        """The rest of the request was wrong: as if it had not been uploaded."""
        self._care.erase_later([record])

    async def post(
        self, caller: Caller, record: FileRecord, message: str | None, reply: bool = True
    ) -> Committed:
        """The `file` message of an upload, which is answered. If there can be none, the file goes too.

        Raises SessionExpired and the like: the session may have ended meanwhile.
        """
        try:
            session, _ = await self._sessions.writable(caller, record.session_id)
            command = PostFile(session_id=record.session_id, file_id=record.file_id, message=message)
            asks = self._asks(caller, session.agent_id, reply)
            return await self._messages.post_file(caller, command, asks)
        except storage_errors.StorageUnavailable:
            raise  # it may have been posted
        except Exception as error:
            self._care.erase_later([record])
            known = error if isinstance(error, ChatError) else translate(error)
            if known is None or known is error:
                raise
            raise known from error

    # --- out

    async def readable(self, caller: Caller, file_id: str) -> FileRecord:
        """Raises FileNotFound, also for those who may not see its session; Unavailable."""
        record = await self._get(file_id)
        try:
            await self._sessions.readable(caller, record.session_id)
        except SessionNotFound as error:
            raise FileNotFound from error
        return record

    async def by_signature(self, file_id: str, thumbnail: bool, expires: str, signature: str) -> FileRecord:
        """For a signed address, with no caller. Raises FileNotFound: also when it has ended."""
        until = int(expires) if expires.isascii() and expires.isdigit() and len(expires) < 12 else 0
        if until <= self._clock() or not self._signer.matches(_signed(file_id, thumbnail, until), signature):
            raise FileNotFound(
                "the signed URL has expired; GET /api/chat/files/{file_id}/url gives a new one"
            )
        return await self._get(file_id)

    async def _get(self, file_id: str) -> FileRecord:
        record = await self._files.get(file_id)
        if record is None:
            raise FileNotFound
        return record

    def address(self, record: FileRecord, origin: str) -> SignedUrls:
        """Addresses below `origin` that work without a token for `url_ttl` seconds: for `<img>`."""
        until = int(self._clock() + self._url_ttl)
        links = [
            origin + self._root + signed_path(self._signer, record.file_id, until, thumbnail=thumbnail)
            for thumbnail in (False, True)
        ]
        return SignedUrls(links[0], links[1] if record.thumbnail_url else None, float(until))

    async def content(
        self, record: FileRecord, thumbnail: bool = False, start: int = 0, stop: int | None = None
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        """The first piece and the rest, so that a refusal comes before the answer begins.

        Raises FileNotFound, Unavailable.
        """
        if thumbnail and not record.thumbnail_url:
            raise FileNotFound("there is no thumbnail")
        key = thumbnail_key(record.file_id) if thumbnail else record.file_id
        pieces = self._blobs.get(key, start, stop)
        try:
            first = await anext(pieces, b"")
        except KeyError as error:
            raise FileNotFound from error
        except storage_errors.StorageUnavailable as error:
            raise Unavailable from error
        return first, pieces

    def view(self, record: FileRecord, message_id: str | None) -> dict[str, object]:
        """What an upload answers."""
        return {
            "file_id": record.file_id,
            "file_url": record.file_url,
            "thumbnail_url": record.thumbnail_url,
            "message_id": message_id,
            "file_info": {"name": record.file_name, "type": record.file_type, "size": record.file_size},
            "uploaded_at": rfc3339(record.uploaded_at),
        }


def signed_path(signer: Signer, file_id: str, until: int, *, thumbnail: bool = False) -> str:
    """Below the service's root: works without a token until then, in epoch seconds."""
    signature = signer.sign(_signed(file_id, thumbnail, until))
    return f"/files/{file_id}{'/thumb' if thumbnail else ''}?expires={until}&signature={signature}"


async def _counted(chunks: AsyncIterator[bytes], upload: Upload) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        upload.came(len(chunk))
        yield chunk


def _signed(file_id: str, thumbnail: bool, until: int) -> str:
    return f"{file_id}\n{'thumb' if thumbnail else 'file'}\n{until}"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data

"""Uploads, downloads and signed URLs (contract, section 8)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.clock import rfc3339, when
from events.errors import ValidationFailed
from events.files import THUMBNAIL_TYPE, FileService
from events.filetypes import INLINE, TEXT
from server.errors import json_error
from server.identity import peer
from server.routes.common import call, caller_of, features_of, perform, reply
from server.routes.reading import services_of, session_id_of
from server.uploads import Fields, Multipart
from storage.records import FileRecord

#: After a refusal, for how long in all, and without a byte, the rest of a body is read and thrown away: a
#: client that reads its answer only when it has sent everything would else see a broken connection.
LINGER, LINGER_IDLE = 30.0, 5.0
#: Fields that a body may have besides its file.
FIELDS = frozenset({"message", "post", "reply"})
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


def files_of(request: Request) -> FileService:
    return features_of(request).files


# --- in


async def upload(request: Request, receive: Receive, send: Send) -> None:
    try:
        response = await _upload(request)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets a typed error
        error = services_of(request).dispatcher.error_of(failure, "upload")
        await _refuse(json_error(error), request.scope, receive, send)
    else:
        await response(request.scope, receive, send)


async def _upload(request: Request) -> Response:
    files, caller = files_of(request), await caller_of(request)
    session_id = session_id_of(request)
    record, message_id = await perform(request, _store, request, caller, session_id)
    return reply(files.view(record, message_id), 201)


async def _store(request: Request, caller: Caller, session_id: str) -> tuple[FileRecord, str | None]:
    """The file, and the id of the message that it was posted with."""
    files, services = files_of(request), services_of(request)
    await files.may_upload(caller, session_id)
    with files.beside(caller) as came:
        fields = Fields(services.settings.ws_message_size_limit, came)
        record = await _file(request, caller, session_id, fields)
        try:
            post, answered = _flag(fields, "post"), _flag(fields, "reply")
            message = fields.text("message")
        except BaseException:
            files.forget(record)
            raise
        if not post:
            return record, None
        posted = await services.dispatcher.perform(
            "file", lambda: files.post(caller, record, message, answered), session_id
        )
    return record, posted.record.message_id


async def _file(request: Request, caller: Caller, session_id: str, fields: Fields) -> FileRecord:
    """Stores the file of a body; returns it with the known fields."""
    files = files_of(request)
    record: FileRecord | None = None
    try:
        async for part in Multipart(request, files.max_size).parts():
            if part.name in FIELDS:
                await fields.take(part)
            elif part.name != "file":
                continue
            elif record is None and part.filename is not None:
                record = await files.take(caller, session_id, part.filename, part.chunks)
            else:
                raise ValidationFailed("one file with a file name", field="file")
        if record is None:
            raise ValidationFailed("missing", field="file")
    except BaseException:
        if record is not None:
            files.forget(record)
        raise
    return record


def _flag(fields: Fields, name: str) -> bool:
    text = fields.text(name)
    known = {None: True, "true": True, "1": True, "false": False, "0": False}
    text = text.lower() if text is not None else None
    if text not in known:
        raise ValidationFailed("true or false", field=name)
    return known[text]


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, then linger: the answer's last, empty piece comes when the client has finished."""
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            more = True
            while more:
                async with asyncio.timeout(LINGER_IDLE):
                    message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


# --- out


async def address(request: Request) -> Response:
    files, caller = files_of(request), await caller_of(request)
    record = await files.readable(caller, request.path_params["file_id"])
    signed = files.address(record, peer.origin_seen(request.scope, services_of(request).settings))
    expires_at = rfc3339(when(signed.expires_at))
    return reply({"url": signed.url, "thumbnail_url": signed.thumbnail_url, "expires_at": expires_at})


async def download(request: Request, receive: Receive, send: Send) -> None:
    await _serve(request, send, thumbnail=False)


async def thumbnail(request: Request, receive: Receive, send: Send) -> None:
    await _serve(request, send, thumbnail=True)


async def _serve(request: Request, send: Send, *, thumbnail: bool) -> None:
    files, file_id = files_of(request), request.path_params["file_id"]
    signature, expires = request.query_params.get("signature"), request.query_params.get("expires", "")
    if signature is not None:
        record = await files.by_signature(file_id, thumbnail, expires, signature)
        waiting = services_of(request).gate.limits.check_each("signed", signature)
        if waiting is not None:
            await waiting
        # The copy ends with the address. A page elsewhere may show it: that is what it was signed for.
        age = max(0, int(int(expires) - services_of(request).clock()))
        caching = f"private, max-age={age}"
    else:
        record = await files.readable(await caller_of(request), file_id)
        # Who may see it can change: asked for each time, and answered by 304.
        caching = "private, no-cache"
    etag = f'"{record.file_id}{".thumb" if thumbnail else ""}"'
    headers = _headers(record, thumbnail) | {"cache-control": caching, "etag": etag}
    if _same(request.headers.get("if-none-match"), etag):
        await _send(send, 304, {name: headers[name] for name in ("cache-control", "etag")}, b"", None)
        return
    if thumbnail:
        # Small: its size is known when it is here.
        with _counted(request):
            first, rest = await files.content(record, thumbnail=True)
            body = first + b"".join([piece async for piece in rest])
            headers["content-length"] = str(len(body))
            await _send(send, 200, headers, b"" if request.method == "HEAD" else body, None)
        return
    status, start, stop = _range(request, record.file_size, etag)
    headers["accept-ranges"] = "bytes"
    if status == 416:
        headers |= {"content-range": f"bytes */{record.file_size}", "content-length": "0"}
        await _send(send, 416, headers, b"", None)
        return
    if status == 206:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{record.file_size}"
    headers["content-length"] = str(stop - start)
    if request.method == "HEAD":
        await _send(send, status, headers, b"", None)
        return
    with _counted(request):
        first, rest = await files.content(record, start=start, stop=stop)
        await _send(send, status, headers, first, rest)


def _counted(request: Request) -> AbstractContextManager[None]:
    """Raises RateLimited, Unavailable."""
    address = services_of(request).address_of(request.scope["client"], request.scope["headers"])
    return features_of(request).downloads.one(request.scope, address)


async def _send(
    send: Send, status: int, headers: dict[str, str], first: bytes, rest: AsyncIterator[bytes] | None
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if rest is None:
        await send({"type": "http.response.body", "body": first})
        return
    await send({"type": "http.response.body", "body": first, "more_body": True})
    async for piece in rest:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _headers(record: FileRecord, thumbnail: bool) -> dict[str, str]:
    media_type = THUMBNAIL_TYPE if thumbnail else record.file_type
    inline = media_type in INLINE
    # RFC 6266: the plain name for old clients, the exact one for the rest.
    plain = re.sub(r'[^ -~]|["\\]', "_", record.file_name)
    name = f"filename=\"{plain}\"; filename*=UTF-8''{quote(record.file_name, safe='')}"
    headers = {
        "content-type": "text/plain; charset=utf-8" if media_type == TEXT else media_type,
        "content-disposition": f"{'inline' if inline else 'attachment'}; {name}",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "cross-origin",
    }
    if media_type != "application/pdf":
        # Browsers' own PDF viewers do not work in a sandbox.
        headers["content-security-policy"] = "default-src 'none'; sandbox"
    return headers


def _same(given: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison."""
    if given is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag in tags or "*" in tags


def _range(request: Request, size: int, etag: str) -> tuple[int, int, int]:
    """(status, start, stop) of the one range asked for (RFC 9110, 14.2); several are answered whole."""
    asked = _RANGE.match(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if asked is None or asked.groups() == ("", "") or (condition is not None and condition != etag):
        return 200, 0, size
    first, last = asked.groups()
    if not first:
        length = int(last)
        return (206, max(0, size - length), size) if length else (416, 0, 0)
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 200, 0, size  # no valid range: as if it were not there
    return (206, start, stop) if start < size else (416, 0, 0)


ROUTES = [
    call("POST", "/api/chat/sessions/{session_id}/files", upload),
    call("GET", "/api/chat/files/{file_id}/url", address),
    call("GET", "/files/{file_id}", download, head=True),
    call("GET", "/files/{file_id}/thumb", thumbnail, head=True),
]

"""An answer's lines in a UI message stream's frames: as server-sent events here, in a WebSocket elsewhere."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.types import Message, Send

from events.event import to_json
from events.room import Connection
from server.dialects.aisdk.asking import Continued
from server.dialects.aisdk.chunks import UIChunks
from server.dialects.answerlines import AnswerLine, Frames, ToldInFrames
from server.routes.streams import FROM_THE_BEGINNING, answer_from, line
from server.services import Services
from server.transports.codecs import one_line
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.interrupts import all_answered
from storage.records import MessageRecord
from storage.waits import WAITING

DONE = b"data: [DONE]\n\n"
#: By which proxies and tools know a UI message stream.
HEADERS = [(b"x-vercel-ai-ui-message-stream", b"v1")]
_FILE_ID = re.compile(rb'"file_id":"([^"\\]{1,100})"')

#: The address under which a page can read a file; None: it is not the reader's.
FileUrl = Callable[[str], Awaitable[str | None]]


class FileUrls:
    """Addresses of the files that an answer's lines name, found before its frames are made."""

    def __init__(self, find: FileUrl) -> None:
        self._find, self._known = find, dict[str, str | None]()

    async def look_up(self, body: bytes) -> None:
        if b'"file_id"' not in body:
            return
        for found in _FILE_ID.findall(body):
            file_id = found.decode()
            if file_id not in self._known:
                self._known[file_id] = await self._find(file_id)

    def of(self, file_id: str) -> str | None:
        return self._known.get(file_id)


class UIFrames(Frames):
    """Chunks as server-sent events."""

    def __init__(self, chunks: UIChunks) -> None:
        super().__init__()
        self._chunks = chunks

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        for chunk in self._chunks.tell(line):
            yield b"data: " + one_line(to_json(chunk)) + b"\n\n"
        if self._chunks.ended:
            self.ended = True
            yield DONE


class ToldAsUI(ToldInFrames):
    def __init__(self, send: Send, frames: Frames, urls: FileUrls) -> None:
        super().__init__(send, frames, HEADERS)
        self._urls = urls

    async def __call__(self, message: Message) -> None:
        await self._urls.look_up(message.get("body", b""))
        await super().__call__(message)


def goes_on(services: Services, told: Continued) -> Begin:
    """The function that begins with an answer as it is, or as it goes on when it waits for nobody."""

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        await told.give()
        current = await services.messages.get(told.answer.session_id, told.answer.message_id)
        head = line(_start(current))
        if current.status == WAITING and all_answered(current.interrupts):
            # Somebody is about to go on: it is told from its beginning then.
            return StreamedAnswer(current.message_id, head, 0, current.revision, False)
        return await answer_from(services, current, FROM_THE_BEGINNING, head, in_order=True)

    return begin


def _start(record: MessageRecord) -> dict[str, Any]:
    request = {"message_id": record.reply_to}
    return {"type": "stream_start", "message_id": record.message_id, "request": request}

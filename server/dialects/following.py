"""Follows an answer from its beginning, also one that has waited, with the addresses of its files. Knows no
dialect."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Message, Send

from events.access import Caller
from events.asking import Asked
from events.errors import FileNotFound
from events.files import FileService
from events.room import Connection
from server.dialects.answerlines import Frames, ToldInFrames
from server.routes.streams import FROM_THE_BEGINNING, answer_begins, answer_from, line
from server.services import Services
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.interrupts import all_answered
from storage.records import MessageRecord, SessionRecord
from storage.waits import WAITING

_FILE_ID = re.compile(rb'"file_id":"([^"\\]{1,100})"')
#: Files of one answer whose addresses are looked up, each with a question to the database: what tools give
#: may name any number.
LOOKED_UP = 200


class FileUrls:
    """Addresses under which a page can read the files that an answer's lines name, found before its frames
    are made. `origin` is this server's."""

    def __init__(self, files: FileService, caller: Caller, origin: str) -> None:
        self._files, self._caller, self._origin = files, caller, origin
        self._known = dict[str, str | None]()

    async def look_up(self, body: bytes) -> None:
        if b'"file_id"' not in body:
            return
        for found in _FILE_ID.findall(body):
            file_id = found.decode()
            if file_id not in self._known and len(self._known) < LOOKED_UP:
                self._known[file_id] = await self.find(file_id)

    async def find(self, file_id: str) -> str | None:
        """None: it is not the reader's."""
        try:
            return self._files.address(await self._files.readable(self._caller, file_id), self._origin).url
        except FileNotFound:
            return None

    def of(self, file_id: str) -> str | None:
        return self._known.get(file_id)


class ToldWithFiles(ToldInFrames):
    def __init__(
        self, send: Send, frames: Frames, urls: FileUrls, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(send, frames, headers)
        self._urls = urls

    async def __call__(self, message: Message) -> None:
        await self._urls.look_up(message.get("body", b""))
        await super().__call__(message)


async def open_turns(services: Services, session_id: str) -> list[dict[str, Any]]:
    """In their order."""
    turns: list[dict[str, Any]] = (await services.answers.answering.shown(session_id, (), changes=False))[
        "turns"
    ]
    return turns


async def turn_begins(
    services: Services, caller: Caller, session: SessionRecord, turn: Mapping[str, Any]
) -> Begin:
    """The function that begins with the answer of a turn that is open (`events.views.turn_view`), or waits
    for it."""
    if turn.get("answer_id"):
        return goes_on(services, await services.messages.get(session.session_id, turn["answer_id"]))
    question = await services.messages.get(session.session_id, turn["message_id"])
    asks = services.answers.answering.asks_of(caller, session.agent_id or 0, None)
    return answer_begins(services, Asked(asks, question), b"", FROM_THE_BEGINNING, in_order=True)


def goes_on(services: Services, answer: MessageRecord) -> Begin:
    """The function that begins with an answer as it is, or as it goes on where it waits for nobody any more:
    what it waited for is given before, for each answer to that is a change of it, and one that waits is at
    its end."""
    session_id, message_id = answer.session_id, answer.message_id

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        current = await services.messages.get(session_id, message_id)
        start = {"type": "stream_start", "message_id": current.message_id}
        head = line(start | {"request": {"message_id": current.reply_to}})
        if current.status == WAITING and all_answered(current.interrupts):
            # Somebody is about to go on: it is told from its beginning then.
            return StreamedAnswer(current.message_id, head, 0, current.revision, False)
        return await answer_from(services, current, FROM_THE_BEGINNING, head, in_order=True)

    return begin

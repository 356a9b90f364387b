"""Chats: sessions as clients have them that make the ids of their chats and messages themselves. Knows no
dialect."""

import re
from typing import Any, NamedTuple

from events.access import Caller
from events.asking import Asked
from events.errors import Conflict, SessionNotFound, ValidationFailed
from events.sessions import Origin
from server.services import Services
from storage.records import MessageRecord, SessionRecord

#: Ids that a page may make a session with; one that begins as the server's own is none (it may be of a
#: session that was erased, and its links lead nowhere, not to whoever comes first).
_OWN_ID = re.compile(r"^(?!sess_)[A-Za-z0-9._:\-]{1,100}\Z")
#: Messages of a path among which the version of a question is looked for that is shown.
LOOKED_AT = 100

Json = dict[str, Any]


class Chat(NamedTuple):
    """A caller's. `id` is the session's. All methods raise what their commands do."""

    services: Services
    caller: Caller
    id: str
    origin: Origin

    async def session(self, agent_id: int | None) -> SessionRecord:
        """Made where nobody has this id. `agent_id`: the agent that it has to have. Raises SessionNotFound,
        ValidationFailed."""
        try:
            record, _ = await self.services.sessions.writable(self.caller, self.id)
        except SessionNotFound:
            if _OWN_ID.match(self.id) is None:
                raise
            record = await self._made(1 if agent_id is None else agent_id)
        if agent_id is not None and record.agent_id != agent_id:
            raise ValidationFailed("the session has another agent", field="agent_id")
        return record

    async def _made(self, agent_id: int) -> SessionRecord:
        waiting = self.services.dispatcher.limit("create_session", self.caller)
        if waiting is not None:
            await waiting
        sessions = self.services.sessions
        try:
            return await sessions.create_session(
                self.caller, self.origin, agent_id=agent_id, session_id=self.id
            )
        except Conflict as error:
            # Another tab was first; or it is somebody else's, and does not exist to this caller.
            try:
                return (await sessions.writable(self.caller, self.id))[0]
            except SessionNotFound:
                raise SessionNotFound from error

    async def find(self, known_as: str) -> MessageRecord | None:
        """A message by the id that a page has for it: ours, or the one that the page gave it. Raises
        SessionNotFound: nobody learns what is not theirs."""
        await self.services.sessions.writable(self.caller, self.id)
        record = await self.services.store.get(known_as) if len(known_as) <= 100 else None
        if record is None or record.session_id != self.id:
            own = self.caller.sender_type, self.caller.sub
            record = await self.services.store.by_client_id(self.id, *own, known_as)
        return record

    async def shown_version(self, record: MessageRecord) -> str:
        """A page has one id for all versions of a message: the one on the path is meant."""
        page = await self.give("history", {"limit": LOOKED_AT, "order": "desc"})
        for each in page["messages"]:
            if each.message_id == record.message_id:
                break
            if isinstance(each.siblings, list) and record.message_id in each.siblings:
                return str(each.message_id)
        return record.message_id

    async def asked(self, question_id: str) -> Asked:
        """A question that stands in the line, or is answered."""
        session, _ = await self.services.sessions.readable(self.caller, self.id)
        question = await self.services.messages.get(session.session_id, question_id)
        return Asked(
            self.services.answers.answering.asks_of(self.caller, session.agent_id or 0, None), question
        )

    async def give(self, command: str, payload: Json) -> Json:
        named = {"session_id": self.id, **payload}
        return await self.services.dispatcher.call(command, self.caller, named)

"""A request of the AI SDK's as commands: a question, one that is asked again or otherwise, answers to what an
answer waits for. Knows no route and no chunk."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from events.access import Caller
from events.asking import Asked
from events.errors import ChatError, Conflict, MessageNotFound, SessionNotFound, StreamOpen, ValidationFailed
from events.files import FileService
from events.schema import ChatRequest
from events.sessions import Origin
from server.dialects.aisdk.bodies import UIChatRequest, UIMessage
from server.dialects.aisdk.given import GivenMessage, forget, said_in, stored
from server.dialects.aisdk.toolchunks import ASKED
from server.services import Services
from storage import interrupts
from storage.records import MessageRecord, SessionRecord

#: Ids that a page may make a session with; one that begins as the server's own is none (it may be of one that
#: was erased, and its links lead nowhere, not to whoever comes first).
_OWN_ID = re.compile(r"^(?!sess_)[A-Za-z0-9._:\-]{1,100}\Z")
#: Messages of a path among which the version of a question is looked for that is shown.
LOOKED_AT = 100

Json = dict[str, Any]


class UICall(NamedTuple):
    """One request of a caller's. `own_file` finds a file's id in its address."""

    services: Services
    files: FileService
    caller: Caller
    body: UIChatRequest
    message: UIMessage
    origin: Origin
    own_file: Callable[[str], str | None]
    key: str | None


class Continued(NamedTuple):
    """An answer that goes on, once `give` has given what it waits for; its reader has `parts` of it."""

    answer: MessageRecord
    parts: Sequence[Json]
    give: Callable[[], Awaitable[None]]


async def carry_out(call: UICall) -> Asked | Continued:
    """Raises SessionNotFound, Forbidden, AgentNotFound, ValidationFailed, ..., Unavailable."""
    body, message = call.body, call.message
    if body.trigger == "regenerate-message":
        return await _again(call)
    if message.role == "assistant":
        return await _continued(call)
    if message.role != "user":
        raise ValidationFailed("the last one is the question: a user's", field="messages")
    if body.message_id is not None:
        first = await _find(call, body.id, message.id)
        if first is not None:
            return await _otherwise(call, first)
    return await _question(call)


# --- a question


async def session_of(call: UICall) -> SessionRecord:
    """The session of a chat, made where nobody has this id."""
    services, caller, chat = call.services, call.caller, call.body.id
    wanted = None if call.body.agent_id is None else int(call.body.agent_id)
    try:
        record, _ = await services.sessions.writable(caller, chat)
    except SessionNotFound:
        if _OWN_ID.match(chat) is None:
            raise
        record = await _made(call, 1 if wanted is None else wanted)
    if wanted is not None and record.agent_id != wanted:
        raise ValidationFailed("the session has another agent", field="agent_id")
    return record


async def _made(call: UICall, agent_id: int) -> SessionRecord:
    services, caller, chat = call.services, call.caller, call.body.id
    waiting = services.dispatcher.limit("create_session", caller)
    if waiting is not None:
        await waiting
    try:
        return await services.sessions.create_session(caller, call.origin, agent_id=agent_id, session_id=chat)
    except Conflict as error:
        # Another tab was first; or it is somebody else's, and does not exist to this caller.
        try:
            return (await services.sessions.writable(caller, chat))[0]
        except SessionNotFound:
            raise SessionNotFound from error


async def _question(call: UICall) -> Asked:
    services, caller, message = call.services, call.caller, call.message
    said = _said(call)
    session = await session_of(call)
    if said.files:
        own = caller.sender_type, caller.sub
        first = await services.store.by_client_id(session.session_id, *own, call.key or message.id)
        if first is not None:  # a repeat: its files are stored
            return await _asked(call, first.message_id)
    records = await stored(call.files, caller, session.session_id, said)
    request = ChatRequest(
        client_message_id=call.key or message.id,
        parts=said.parts,
        metadata=message.metadata if isinstance(message.metadata, dict) else None,
        when_busy=call.body.when_busy,
    )
    try:
        return await services.answers.asking.ask(caller, session.session_id, request, call.origin)
    except ChatError:
        forget(call.files, records)
        raise


def _said(call: UICall) -> GivenMessage:
    limit = call.services.settings.ws_message_size_limit
    return said_in(call.message.parts, call.own_file, limit)


async def _find(call: UICall, session_id: str, ui_id: str) -> MessageRecord | None:
    """A message by the id that a page has for it: ours, or the one that the page gave it. Raises
    SessionNotFound: nobody learns what is not theirs."""
    await call.services.sessions.writable(call.caller, session_id)
    record = await call.services.store.get(ui_id) if len(ui_id) <= 100 else None
    if record is None or record.session_id != session_id:
        own = call.caller.sender_type, call.caller.sub
        record = await call.services.store.by_client_id(session_id, *own, ui_id)
    return record


# --- again, and otherwise


async def _again(call: UICall) -> Asked:
    """The question is the last message, or the page names it or its answer. One that never came is asked."""
    message, named = call.message, call.body.message_id
    try:
        record = None if named is None else await _find(call, call.body.id, named)
        if record is None:
            record = await _find(call, call.body.id, message.id)
    except SessionNotFound:
        record = None
    if record is None:
        if message.role != "user":
            raise MessageNotFound
        return await _question(call)
    shown = await _shown_version(call, record)
    payload = {"session_id": call.body.id, "message_id": shown} | _busy(call)
    try:
        again = await _give(call, "regenerate", payload)
    except StreamOpen:
        # The page has let go of the answer that it wants anew.
        await _give(call, "stream_cancel", {"session_id": call.body.id, "message_id": shown})
        again = await _give(call, "regenerate", payload)
    return await _asked(call, again["message_id"])


async def _otherwise(call: UICall, first: MessageRecord) -> Asked:
    """Another version of a question, with the files and other parts of the first."""
    said = _said(call)
    if not said.text:
        raise ValidationFailed("say something", field="messages")
    if said.file_count not in (0, _files_of(first)):
        raise ValidationFailed("a version has the files of the first", field="messages")
    payload = {
        "session_id": call.body.id,
        "message_id": await _shown_version(call, first),
        "content": said.text,
        "branch": True,
        "client_message_id": call.key,
    }
    edited = await _give(call, "edit", payload | _busy(call))
    return await _asked(call, edited["message_id"])


def _files_of(record: MessageRecord) -> int:
    return sum(part["type"] == "file" for part in record.parts or ())


async def _shown_version(call: UICall, record: MessageRecord) -> str:
    """A page has one id for all versions of a message: the one on the path is meant."""
    page = await _give(call, "history", {"session_id": call.body.id, "limit": LOOKED_AT, "order": "desc"})
    for each in page["messages"]:
        if each.message_id == record.message_id:
            break
        if isinstance(each.siblings, list) and record.message_id in each.siblings:
            return str(each.message_id)
    return record.message_id


def _busy(call: UICall) -> Json:
    return {} if call.body.when_busy is None else {"when_busy": call.body.when_busy}


async def _asked(call: UICall, question_id: str) -> Asked:
    session, _ = await call.services.sessions.readable(call.caller, call.body.id)
    question = await call.services.messages.get(session.session_id, question_id)
    asks = call.services.answers.answering.asks_of(call.caller, session.agent_id or 0, None)
    return Asked(asks, question)


async def _give(call: UICall, command: str, payload: Json) -> Json:
    return await call.services.dispatcher.call(command, call.caller, payload)


# --- answers


async def _continued(call: UICall) -> Continued:
    record = await _find(call, call.body.id, call.message.id)
    if record is None or record.message_type != "stream":
        raise MessageNotFound
    given = list(_answers(record, call.message.parts))

    async def give() -> None:
        for answer in given:
            await _give(call, "answer", answer)

    return Continued(record, call.message.parts, give)


def _answers(record: MessageRecord, parts: Sequence[Json]) -> Sequence[Json]:
    """What the page says to what the answer waits for. Raises Conflict: others have decided otherwise."""
    known, answers = record.interrupts or (), []
    for part in parts:
        found = _answer(known, part)
        if found is None:
            continue
        interrupt, answer = found
        if interrupts.is_open(interrupt):
            ids = {"session_id": record.session_id, "message_id": record.message_id}
            answers.append({**ids, "interrupt_id": interrupt["id"], **answer})
        elif part.get("state") == "approval-responded":
            counts = interrupt["answer"]
            if _allows(counts) != _allows(answer):
                raise Conflict("it was answered otherwise", details={"answer": counts})
    return answers


def _answer(known: Sequence[Json], part: Json) -> tuple[Json, Json] | None:
    """An interrupt, and what a UI part says to it."""
    call_id, state = part.get("toolCallId"), part.get("state")
    if state == "approval-responded":
        approval = part.get("approval")
        if not isinstance(approval, dict):
            return None
        interrupt = interrupts.find(known, str(approval.get("id"))) or _of_call(known, call_id)
        payload: Json = {"approved": approval.get("approved") is True}
        if isinstance(approval.get("reason"), str):
            payload["reason"] = approval["reason"]
        return None if interrupt is None else (interrupt, {"status": "resolved", "payload": payload})
    if state not in ("output-available", "output-error") or not isinstance(call_id, str):
        return None
    if call_id.startswith(ASKED):
        interrupt = interrupts.find(known, call_id.removeprefix(ASKED))
    else:
        interrupt = _of_call(known, call_id)
    if interrupt is None:
        return None
    if state == "output-error":
        return interrupt, {"status": "cancelled", "payload": {"error": str(part.get("errorText", ""))}}
    return interrupt, {"status": "resolved", "payload": part.get("output")}


def _allows(answer: Json) -> bool:
    payload = answer.get("payload")
    return isinstance(payload, dict) and payload.get("approved") is True


def _of_call(known: Sequence[Json], call_id: Any) -> Json | None:
    """The last one about a call: it may be asked about twice."""
    return next((each for each in reversed(known) if each.get("tool_call_id") == call_id), None)

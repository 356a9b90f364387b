"""A request of the AI SDK's as commands: a question, one that is asked again or otherwise, answers to what an
answer waits for. Knows no route and no chunk."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from events.asking import Asked
from events.errors import Conflict, MessageNotFound, SessionNotFound, StreamOpen, ValidationFailed
from events.files import FileService
from events.pagetools import PageTool, brought
from events.schema import ChatRequest
from server.dialects.aisdk.bodies import UIChatRequest, UIMessage
from server.dialects.aisdk.given import said_in
from server.dialects.aisdk.toolchunks import ASKED
from server.dialects.chats import Chat
from server.dialects.files import GivenMessage, asked_with, check_size, stored
from storage import interrupts
from storage.records import MessageRecord

Json = dict[str, Any]


class UICall(NamedTuple):
    """One request of a caller's. `own_file` finds a file's id in its address."""

    chat: Chat
    files: FileService
    body: UIChatRequest
    message: UIMessage
    own_file: Callable[[str], str | None]
    key: str | None
    tools: list[PageTool] | None = None


class Continued(NamedTuple):
    """An answer that was given what it waits for; its reader has `parts` of it."""

    answer: MessageRecord
    parts: Sequence[Json]


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
        first = await call.chat.find(message.id)
        if first is not None:
            return await _otherwise(call, first)
    return await _question(call)


# --- a question


async def _question(call: UICall) -> Asked:
    chat, message = call.chat, call.message
    services, caller = chat.services, chat.caller
    said = _said(call)
    message.parts = []  # files among them are held once
    session = await chat.session(None if call.body.agent_id is None else int(call.body.agent_id))
    if said.files:
        own = caller.sender_type, caller.sub
        first = await services.store.by_client_id(session.session_id, *own, call.key or message.id)
        if first is not None:  # a repeat: its files are stored
            return await chat.asked(first.message_id)
    dispatcher = services.dispatcher
    upload = partial(dispatcher.limit, "upload", caller)
    records = await stored(call.files, caller, session.session_id, said, upload, dispatcher.waiting)
    request = ChatRequest(
        client_message_id=call.key or message.id,
        parts=said.parts,
        metadata=_metadata(message),
        when_busy=call.body.when_busy,
        tools=call.tools,
    )
    asking = services.answers.asking.ask(caller, session.session_id, request, chat.origin)
    return await asked_with(call.files, records, asking)


def _said(call: UICall) -> GivenMessage:
    said = said_in(call.message.parts, call.own_file)
    check_size(said, _metadata(call.message), call.chat.services.settings.ws_message_size_limit)
    return said


def _metadata(message: UIMessage) -> Json | None:
    return message.metadata if isinstance(message.metadata, dict) else None


# --- again, and otherwise


async def _again(call: UICall) -> Asked:
    """The question is the last message, or the page names it or its answer. One that never came is asked."""
    message, named = call.message, call.body.message_id
    try:
        record = None if named is None else await call.chat.find(named)
        if record is None:
            record = await call.chat.find(message.id)
    except SessionNotFound:
        record = None
    if record is None:
        if message.role != "user":
            raise MessageNotFound
        return await _question(call)
    shown = await call.chat.shown_version(record)
    payload = {"message_id": shown} | _options(call)
    try:
        again = await call.chat.give("regenerate", payload)
    except StreamOpen:
        # The page has let go of the answer that it wants anew.
        await call.chat.give("stream_cancel", {"message_id": shown})
        again = await call.chat.give("regenerate", payload)
    return await call.chat.asked(again["message_id"])


async def _otherwise(call: UICall, first: MessageRecord) -> Asked:
    """Another version of a question, with the files and other parts of the first."""
    said = _said(call)
    if not said.text:
        raise ValidationFailed("say something", field="messages")
    if said.file_count not in (0, _files_of(first)):
        raise ValidationFailed("a version has the files of the first", field="messages")
    payload = {
        "message_id": await call.chat.shown_version(first),
        "content": said.text,
        "branch": True,
        "client_message_id": call.key,
    }
    edited = await call.chat.give("edit", payload | _options(call))
    return await call.chat.asked(edited["message_id"])


def _files_of(record: MessageRecord) -> int:
    return sum(part["type"] == "file" for part in record.parts or ())


def _options(call: UICall) -> Json:
    busy = {} if call.body.when_busy is None else {"when_busy": call.body.when_busy}
    tools = brought(call.tools)
    return busy if tools is None else busy | {"tools": tools}


# --- answers


async def _continued(call: UICall) -> Continued:
    record = await call.chat.find(call.message.id)
    if record is None or record.message_type != "stream":
        raise MessageNotFound
    for answer in _answers(record, call.message.parts):
        await call.chat.give("answer", answer)
    return Continued(record, call.message.parts)


def _answers(record: MessageRecord, parts: Sequence[Json]) -> Sequence[Json]:
    """What the page says to what the answer waits for. Raises Conflict: others have decided otherwise."""
    known, answers = record.interrupts or (), []
    for part in parts:
        found = _answer(known, part)
        if found is None:
            continue
        interrupt, answer = found
        if interrupts.is_open(interrupt):
            ids = {"message_id": record.message_id, "interrupt_id": interrupt["id"]}
            answers.append({**ids, **answer})
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

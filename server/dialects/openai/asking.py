"""A request of OpenAI's as a question to a session's agent. Knows no route and no frame."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from events.access import Caller
from events.agents.replies import HISTORY_MESSAGES
from events.asking import Asked
from events.errors import AgentNotFound, ValidationFailed
from events.identity import agent_id
from events.messages import SaidBefore
from events.pagetools import PageTool
from events.parts import BETWEEN, GivenPart, Text, Tool
from events.schema import ChatRequest, Metadata, WhenBusy
from events.sessions import Origin
from events.views import PAGE_BYTES
from server.dialects.behind import Behind
from server.dialects.following import goes_on
from server.dialects.openai.bodies import ConversationName
from server.dialects.openai.conversation import Conversation
from server.dialects.openai.toolcalls import go_on
from server.routes.streams import FROM_THE_BEGINNING, answer_begins
from server.services import Services
from server.transports.eventstream import Begin
from storage.records import MessageRecord, SessionRecord

#: Messages of a session among which those that a call repeats are looked for: some were deleted, some failed.
LOOKED_AT = 2 * HISTORY_MESSAGES
#: Commits a question (`ask`), under its route's name.
Asking = Callable[["OpenAICall"], Awaitable[Asked]]


class OpenAICall(NamedTuple):
    """One request, whichever of the two APIs it came by. `key` makes its repeat the same question; `field`
    is what its conversation came in. `tools` are the caller's own; `instructions` are the caller's own words,
    before all others."""

    model: str
    conversation: Conversation
    session_id: str | None
    metadata: Metadata
    when_busy: WhenBusy | None
    key: str | None
    field: str
    tools: Sequence[PageTool]
    instructions: str | None = None


class Begun(NamedTuple):
    """A question that is committed; or one whose answer goes on, and what of it the caller has had."""

    asked: Asked
    answer: MessageRecord | None = None
    behind: Behind | None = None


async def model_of(services: Services, name: str) -> int:
    """The agent that a `model` names, by its id or name. Raises AgentNotFound, ValidationFailed."""
    number = agent_id(name)
    if number is not None:
        record = await services.agents.get(number)
        if record is not None and record.is_active:
            return number
    named = [] if "\0" in name else await services.agents.named(name)
    if len(named) > 1:
        raise ValidationFailed("several agents have this name; their ids distinguish them", field="model")
    if not named:
        raise AgentNotFound(f"no agent is named {name}", details={"field": "model"})
    return named[0]


async def ask(services: Services, caller: Caller, call: OpenAICall, origin: Origin) -> Asked:
    """Commit the question. Raises what `events.asking` does; ValidationFailed, too: the session has another
    agent, or did not go as the call says."""
    agent = await model_of(services, call.model)
    request = ChatRequest(
        agent_id=agent,
        client_message_id=call.key,
        metadata=call.metadata or None,
        when_busy=call.when_busy,
        parts=list(call.conversation.question),
        tools=list(call.tools) or None,
    )
    asking = services.answers.asking
    if call.session_id is None:
        earlier = [*_instructed(call), *call.conversation.earlier][:HISTORY_MESSAGES]
        session_id = None if call.key is None else _session_of(caller, call.key, agent, len(earlier))
        return await asking.ask_after(caller, request, origin, earlier, session_id)
    session, _ = await services.sessions.writable(caller, call.session_id)
    if session.agent_id != agent:
        raise ValidationFailed("the session has another agent", field="model")
    await _check(services, caller, session, call)
    return await asking.ask(caller, call.session_id, request, origin)


def _instructed(call: OpenAICall) -> list[SaidBefore]:
    return [SaidBefore(by_agent=False, parts=[Text(text=call.instructions)])] if call.instructions else []


def _session_of(caller: Caller, key: str, agent: int, earlier: int) -> str:
    """The session of a call that names none: a repeat's is the same, and nobody else's. What asks another
    agent, or brings more along, is no repeat: nothing is put behind what was said meanwhile."""
    name = f"{caller.key}\0{key}\0{agent}\0{earlier}".encode()
    return f"sess_{hashlib.blake2b(name, digest_size=16, person=b'openai').hexdigest()}"


async def begin(services: Services, caller: Caller, call: OpenAICall, asking: Asking) -> Begun:
    """Commit what is asked by `asking`, or what the caller's tools gave. Raises what these do."""
    outputs = call.conversation.outputs
    if not outputs:
        return Begun(await asking(call))
    gone_on = await go_on(services, caller, outputs, call.session_id, call.field)
    agent = await model_of(services, call.model)
    asks = services.answers.answering.asks_of(caller, agent, None)
    return Begun(Asked(asks, gone_on.question), gone_on.answer, gone_on.behind)


def begins_of(services: Services, asked: Asked, waited: MessageRecord | None) -> Begin:
    """The function that waits for an answer to begin, or to go on."""
    if waited is not None:
        return goes_on(services, waited)
    return answer_begins(services, asked, b"", FROM_THE_BEGINNING, in_order=True)


async def _check(services: Services, caller: Caller, session: SessionRecord, call: OpenAICall) -> None:
    """A session has its own memory: what a call says of it is so, or the call is refused. Raises
    ValidationFailed."""
    said = [(each.by_agent, _text(each.parts)) for each in call.conversation.earlier]
    if not said and not call.instructions:
        return
    own = caller.sender_type, caller.sub
    if call.key and await services.store.by_client_id(session.session_id, *own, call.key) is not None:
        return  # a repeat, of what was so
    if call.instructions:
        await _check_instructions(services, session.session_id, call.instructions)
    page = await services.messages.newest(session, LOOKED_AT)
    known = [(r.sender_type == "agent", r.content) for r in page if _is_known(r)]
    if known[: len(said)] != said[::-1]:
        told = "those before the last are not what the session ends with; leave them out"
        raise ValidationFailed(told, field=call.field)


async def _check_instructions(services: Services, session_id: str, instructions: str) -> None:
    """A session has those with which it began. Raises ValidationFailed."""
    first, _ = await services.store.page(session_id, order="asc", limit=1, max_bytes=PAGE_BYTES)
    if not first or not first[0].metadata.get("brought") or first[0].content != instructions:
        raise ValidationFailed("not those with which the session began", field="instructions")


def _is_known(record: MessageRecord) -> bool:
    """Whether a program that keeps the conversation has it."""
    if record.deleted_at is not None or not record.content:
        return False
    return record.sender_type != "agent" or record.status == "complete"


def _text(parts: Sequence[GivenPart | Tool]) -> str:
    return BETWEEN.join(part.text for part in parts if isinstance(part, Text))


def session_in(conversation: str | ConversationName | None, metadata: Metadata) -> str | None:
    """The session that a call names; `metadata` has the rest afterwards. Raises ValidationFailed."""
    named = conversation.id if isinstance(conversation, ConversationName) else conversation
    other = metadata.pop("session_id", None)
    if other is not None and not (isinstance(other, str) and 0 < len(other) <= 100 and "\0" not in other):
        raise ValidationFailed("a session's id", field="metadata.session_id")
    if named is not None and other is not None and named != other:
        raise ValidationFailed(
            "names another session than conversation", field="metadata.session_id", joint=" "
        )
    return named or other

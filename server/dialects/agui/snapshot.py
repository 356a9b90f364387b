"""A session's messages as AG-UI has them: an answer's are what its client puts together of the answer's
events, so that both ways a page has the same. Reads nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from events.access import Caller
from events.schema import Message
from server.dialects.agui.runevents import STATE, RunEvents
from server.dialects.answerlines import AnswerLine

Json = dict[str, Any]
#: The address under which a page can read a file; None: it is not the reader's.
FileUrl = Callable[[str], str | None]


def messages_of(messages: Sequence[Message], caller: Caller, file_url: FileUrl) -> list[Json]:
    """Those of a page of history, in its order."""
    made: list[Json] = []
    for message in messages:
        if message.deleted_at is not None:
            continue
        if message.sender_type == "agent":
            made += _answer(message)
        else:
            made.append(_said(message, caller, file_url))
    return made


def state_of(messages: Sequence[Message]) -> Any:
    """The last that was told; None where none was."""
    for message in reversed(messages):
        for part in reversed(_parts(message)):
            if part["type"] == "data" and part["name"] == STATE:
                return part["data"]
    return None


def _parts(message: Message) -> Sequence[Json]:
    return message.parts if isinstance(message.parts, list) else ()  # type: ignore[return-value]


# --- what people say


def _said(message: Message, caller: Caller, file_url: FileUrl) -> Json:
    is_own = (message.sender_type, message.sender_id) == (caller.sender_type, caller.sub)
    message_id = (is_own and message.client_message_id) or message.message_id
    if message.sender_type == "system":
        return {"id": message_id, "role": "system", "content": message.content or ""}
    files = [part for part in _parts(message) if part["type"] == "file"]
    contents = [told for part in files if (told := _file(part, file_url)) is not None]
    content: Any = message.content or ""
    if contents:
        content = [*([{"type": "text", "text": content}] if content else []), *contents]
    name = {} if is_own else {"name": message.sender_id}
    return {"id": message_id, "role": "user", "content": content, **name}


def _file(part: Json, file_url: FileUrl) -> Json | None:
    url = part["url"] if "url" in part else file_url(part["file_id"])
    if url is None:
        return None
    media_type = part.get("media_type") or "application/octet-stream"
    kind = media_type.partition("/")[0]
    named = {"metadata": {"filename": part["name"]}} if "name" in part else {}
    source = {"type": "url", "value": url, "mimeType": media_type}
    return {"type": kind if kind in ("image", "audio", "video") else "document", "source": source, **named}


# --- answers


def _answer(message: Message) -> list[Json]:
    events = RunEvents("", "", modern=True)
    made = _put_together(event for line in _lines(message) for event in events.tell(line))
    if message.status not in ("complete", "waiting") and made:
        # Nothing else of a message says that it is not whole.
        made[-1]["metadata"] = {"status": message.status}
    return made


def _lines(message: Message) -> Iterator[AnswerLine]:
    parts = _parts(message)
    for part in parts:
        yield AnswerLine("stream_part", message.message_id, part=part)
    if not parts:
        yield AnswerLine("stream_chunk", message.message_id, content=message.content)


def _put_together(events: Iterable[Json]) -> list[Json]:
    """As clients do."""
    made: dict[str, Json] = {}
    calls: dict[str, Json] = {}
    for event in events:
        match event:
            case {"type": "TEXT_MESSAGE_START", "messageId": known}:
                made.setdefault(known, {"id": known, "role": "assistant"}).setdefault("content", "")
            case {"type": "REASONING_MESSAGE_START", "messageId": known}:
                made.setdefault(known, {"id": known, "role": "reasoning", "content": ""})
            case {
                "type": "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT",
                "messageId": known,
                "delta": more,
            }:
                made[known]["content"] += more
            case {"type": "TOOL_CALL_START", "toolCallId": known, "toolCallName": name}:
                parent = made.setdefault(
                    event["parentMessageId"], {"id": event["parentMessageId"], "role": "assistant"}
                )
                calls[known] = {"name": name, "arguments": ""}
                call = {"id": known, "type": "function", "function": calls[known]}
                parent.setdefault("toolCalls", []).append(call)
            case {"type": "TOOL_CALL_ARGS", "toolCallId": known, "delta": more}:
                calls[known]["arguments"] += more
            case {"type": "TOOL_CALL_RESULT", "toolCallId": known, "messageId": own, "content": content}:
                made[own] = {"id": own, "role": "tool", "toolCallId": known, "content": content}
    return list(made.values())

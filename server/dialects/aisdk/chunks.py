"""An answer as chunks of a UI message stream. Knows no request and no wire: a chunk is a dict.

Chunk types are a closed set: a client fails an answer that has one it does not know. So its major version
has to be told.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from server.dialects.aisdk.toolchunks import NAME, ToolChunks
from server.dialects.answerlines import AnswerLine
from server.dialects.partsteps import GrownPart, PartSteps, ShownPart
from server.dialects.steps import EndStep, Part
from server.transports.growing import MARK

Chunk = dict[str, Any]
Sdk = Literal[5, 6, 7]

FINISH = {
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "length": "length",
    "other": "other",
}
#: How an answer that is not whole is told where it names no error of its own.
NOT_WHOLE = {
    "interrupted": "the answer broke off: nobody writes it any more; its text so far is kept",
    "failed": "the answer failed; its text so far is kept",
}
CHANGED = {"code": "ANSWER_CHANGED", "message": "the answer was written anew; its message has all of it"}
#: What an end tells of an answer besides its parts.
TOLD = ("model", "usage", "tokens_used", "latency_ms")


class UIChunks:
    """One reader's, of one answer. `sdk` is its client's major version, `file_url` makes the address under
    which a page can read a file of the session. `ended`: the last chunk was given out."""

    def __init__(self, sdk: Sdk, session_id: str, file_url: Callable[[str], str | None]) -> None:
        self.ended = False
        self._sdk, self._session_id, self._file_url = sdk, session_id, file_url
        self._steps, self._tools = PartSteps(), ToolChunks(sdk)
        self._open: dict[str, str] = {}  # parts that grow, with their kind
        self._last = ""  # the part that grew last
        self._step_open = False
        self._once: set[str] = set()
        self._files: set[str] = set()
        self._data: dict[str, bytes] = {}
        #: What the client has already of the parts that grow, by their kind, and how many of the others.
        self._skips = {"text": 0, "reasoning": 0}
        self._started = False

    def knows(self, parts: Sequence[dict[str, Any]]) -> None:
        """The client has these UI parts, and is told what is missing to them."""
        self._tools.knows(parts)
        for part in parts:
            kind = part.get("type")
            if kind in self._skips and isinstance(part.get("text"), str):
                self._skips[kind] += len(part["text"])
            elif kind in ("source-url", "source-document"):
                self._once.add(_known(part.get("sourceId")))
            elif kind == "file":
                # Its signature is another each time.
                self._files.add(_known(part.get("url")).partition("?")[0])
            elif isinstance(kind, str) and kind.startswith("data-"):
                self._data[_known(part.get("id"))] = _digest(part.get("data"))

    def tell(self, line: AnswerLine) -> Iterator[Chunk]:
        if not line.type:
            yield from self._error(line.code, line.message)  # to its reader alone: the answer goes on
        elif line.type == "stream_start" and not self._started:
            self._started = True
            metadata = {"session_id": self._session_id} | ({"request": line.request} if line.request else {})
            yield {"type": "start", "messageId": line.message_id, "messageMetadata": metadata}
        for step in self._steps.take(line):
            match step:
                case GrownPart():
                    yield from self._grown(step)
                case ShownPart(part):
                    yield from self._shown(part)
                case EndStep():
                    yield from self._end(step)

    def grows(self) -> tuple[str, Callable[[str], None], Chunk] | None:
        """`PartSteps.add_to` of the part that grew last, and the chunk of the text `MARK` of it; None where
        more of it is more than such a chunk."""
        kind = self._open.get(self._last)
        if kind is None or self._skips[kind]:
            return None
        return *self._steps.add_to(self._last), _more(kind, self._last, MARK)

    # --- parts

    def _grown(self, step: GrownPart) -> Iterator[Chunk]:
        if step.kind == "tool":
            yield from self._tools.grown(step.part_id, step.text)
            return
        skipped = min(self._skips[step.kind], len(step.text))
        self._skips[step.kind] -= skipped
        text = step.text[skipped:]
        if not text:
            return
        if step.part_id not in self._open:
            yield from self._close()
            yield from self._begin_step(anew=True)
            self._open[step.part_id] = step.kind
            yield {"type": f"{step.kind}-start", "id": step.part_id}
        self._last = step.part_id
        yield _more(step.kind, step.part_id, text)

    def _shown(self, part: Part) -> Iterator[Chunk]:
        match part["type"]:
            case "tool":
                yield from self._call(part)
            case "step":
                yield from self._end_step()
            case "data":
                yield from self._told_data(part)
            case "source" | "file" if part["id"] not in self._once:
                self._once.add(part["id"])
                chunk = self._source(part) if part["type"] == "source" else self._file(part)
                if chunk is not None:
                    yield from self._begin_step(anew=True)
                    yield chunk

    def _call(self, part: Part) -> Iterator[Chunk]:
        """What comes of a call that is known stands where the call stands."""
        if not self._tools.is_known(part):
            yield from self._begin_step(anew=True)
        yield from self._tools.shown(part)

    def _told_data(self, part: Part) -> Iterator[Chunk]:
        transient = part.get("transient") is True
        digest = b"" if transient else _digest(part["data"])
        if not transient and self._data.get(part["id"]) == digest:
            return
        if not transient:
            self._data[part["id"]] = digest
            yield from self._begin_step()
        told = {"type": f"data-{part['name']}", "id": part["id"], "data": part["data"]}
        yield told | ({"transient": True} if transient else {})

    def _source(self, part: Part) -> Chunk:
        title = part.get("title")
        if "url" in part:
            return {"type": "source-url", "sourceId": part["id"], "url": part["url"]} | _given(title=title)
        kind = part.get("media_type") or "application/octet-stream"
        return {
            "type": "source-document",
            "sourceId": part["id"],
            "mediaType": kind,
            "title": title or part["file_id"],
        }

    def _file(self, part: Part) -> Chunk | None:
        url = part["url"] if "url" in part else self._file_url(part["file_id"])
        if url is None or url.partition("?")[0] in self._files:
            return None
        return {"type": "file", "url": url, "mediaType": part.get("media_type") or "application/octet-stream"}

    # --- steps

    def _begin_step(self, *, anew: bool = False) -> Iterator[Chunk]:
        """`anew`: what comes is new. Behind a call that the page was asked about it is another step: a page
        that goes on by itself looks at the last one, and would go on for ever."""
        if anew and self._step_open and self._tools.asked_page:
            yield from self._end_step()
        if not self._step_open:
            self._step_open, self._tools.asked_page = True, False
            yield {"type": "start-step"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._step_open:
            yield from self._close()
            self._step_open = False
            yield {"type": "finish-step"}

    def _close(self) -> Iterator[Chunk]:
        for part_id, kind in self._open.items():
            yield {"type": f"{kind}-end", "id": part_id}
        self._open.clear()

    # --- the end

    def _end(self, end: EndStep) -> Iterator[Chunk]:
        line = end.line
        if end.changed:
            yield from self._error(CHANGED["code"], CHANGED["message"])
        elif line.status == "cancelled":
            self.ended = True
            yield from self._close()
            yield {"type": "abort", "reason": "cancelled"}
        elif line.status in NOT_WHOLE or line.finish_reason == "error":
            error = line.error or {}
            status = line.status if line.status in NOT_WHOLE else "failed"
            if status == "interrupted" and self._sdk >= 7:
                yield {"type": "finish", "finishReason": "interrupted"}
            yield from self._error(
                error.get("code") or status.upper(), error.get("message") or NOT_WHOLE[status]
            )
        else:
            yield from self._finish(line)

    def _finish(self, line: AnswerLine) -> Iterator[Chunk]:
        yield from self._begin_step()
        if line.status == "waiting":
            yield from self._tools.asked(line.interrupts or ())
        yield from self._end_step()
        reason = "tool-calls" if line.status == "waiting" else FINISH.get(line.finish_reason or "", "stop")
        told = {name: value for name in TOLD if (value := getattr(line, name)) is not None}
        metadata = {**(line.metadata or {}), **told, "status": line.status}
        self.ended = True
        yield {"type": "finish", "finishReason": reason, "messageMetadata": metadata}

    def _error(self, code: str, message: str) -> Iterator[Chunk]:
        self.ended = True
        yield {"type": "error", "errorText": f"{code}: {message}" if message else code}


def _more(kind: str, part_id: str, text: str) -> Chunk:
    return {"type": f"{kind}-delta", "id": part_id, "delta": text}


def _given(**values: Any) -> Chunk:
    return {name: value for name, value in values.items() if value}


def _known(name: Any) -> str:
    """As a page has it, no longer than ours are: it is kept while the answer is read."""
    return str(name)[:NAME]


def _digest(data: Any) -> bytes:
    return blake2b(msgspec.json.encode(data, order="sorted"), digest_size=16).digest()

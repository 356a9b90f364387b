"""An answer that waits for a person, as a worker writes it."""

from typing import Any

from tests.agents.worker import Worker
from tests.support.doors import Door

Reply = dict[str, Any]

#: What the worker shows, and gets back as it was shown.
TOOL = {
    "type": "tool",
    "id": "tool-1",
    "tool_call_id": "call_1",
    "name": "pay",
    "input": {"eur": 5, "to": "Ada"},
    "state": "approval_requested",
    "executed_by": "agent",
}
APPROVAL = {
    "id": "i1",
    "reason": "confirmation",
    "message": "Pay 5 EUR?",
    "tool_call_id": "call_1",
    "response_schema": {
        "type": "object",
        "properties": {"approved": {"type": "boolean"}},
        "required": ["approved"],
    },
}
YES = {"approved": True}


async def ask_approval(worker: Worker, session_id: str, answer: str, *more: Reply, **changed: Any) -> Reply:
    """The reply to `stream_wait`."""
    where = {"session_id": session_id, "message_id": answer}
    shown = await worker.call("stream_part", **where, part=TOOL)
    assert shown["ok"], shown
    return await worker.call("stream_wait", **where, interrupts=[APPROVAL | changed, *more])


async def say(door: Door, answer: str, *, status: str = "resolved", **more: Any) -> Reply:
    """A person's answer to the approval."""
    given = {"payload": YES} if status == "resolved" else {}
    return await door.call(
        "answer", **{"message_id": answer, "interrupt_id": "i1", "status": status, **given, **more}
    )


async def go_on(worker: Worker, request: Reply, *pieces: str, end: bool = True) -> Reply:
    """The reply to the `stream_start` with which a worker goes on; then it writes."""
    resume = request["resume"]
    where = {"session_id": request["session_id"], "message_id": resume["message_id"]}
    claimed = await worker.call("stream_start", **where, fence=request["fence"])
    if not claimed["ok"]:
        return claimed
    for index, piece in enumerate(pieces, claimed["next_index"]):
        written = await worker.call("stream_chunk", **where, index=index, content=piece)
        assert written["ok"], written
    if end:
        ended = await worker.call("stream_end", **where)
        assert ended["ok"], ended
    return claimed

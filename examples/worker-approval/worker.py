"""An agent that does nothing before somebody has allowed it, whatever is restarted meanwhile.

    pip install "python-socketio[asyncio-client]"
    AGENT_TOKEN=... python worker.py http://127.0.0.1:8003

Asked for anything it shows what it would do, and waits. From then on it holds nothing: the server remembers
what it has shown, and hands the question out again, to this worker or to another, when it was answered.
"""

import asyncio
import os
import random
import sys
import uuid
from typing import Any

import socketio

sio = socketio.AsyncClient()
answers: set[asyncio.Task[None]] = set()
refused: dict[str, Any] = {}

#: What a page makes a form of; the server lets no other answer through.
APPROVAL = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Go ahead?"},
        "reason": {"type": "string", "title": "Why not?", "maxLength": 200},
    },
    "required": ["approved"],
}


async def pay(tool_call_id: str, euros: int) -> str:
    """What must happen once: `tool_call_id` stays the same however often this is tried. Put yours here."""
    await asyncio.sleep(0.1)
    return f"receipt {tool_call_id} over {euros} EUR"


async def ask(request: dict[str, Any]) -> None:
    """The first half: up to the question."""
    message_id, tool_call_id = f"answer-{uuid.uuid4()}", f"call-{uuid.uuid4()}"
    where = {"session_id": request["session_id"], "message_id": message_id}
    question = {"reply_to": request["message"]["message_id"], "fence": request["fence"]}
    begun = await call("stream_start", {**where, **question})
    if not begun["ok"] or begun["message_id"] != message_id:
        return  # it was stopped, or another worker was faster
    await call("stream_chunk", {**where, "index": 0, "content": "I can pay that. "})
    tool = {"id": "pay", "type": "tool", "tool_call_id": tool_call_id, "name": "pay", "input": {"euros": 5}}
    await call("stream_part", {**where, "index": 1, "part": {**tool, "state": "approval_requested"}})
    asked = {"id": "pay", "reason": "confirmation", "message": "Pay 5 EUR?", "tool_call_id": tool_call_id}
    await call("stream_wait", {**where, "index": 2, "interrupts": [{**asked, "response_schema": APPROVAL}]})


async def go_on(request: dict[str, Any]) -> None:
    """The second half: with what people saw, and what they said."""
    resume = request["resume"]
    where = {"session_id": request["session_id"], "message_id": resume["message_id"]}
    begun = await call("stream_start", {**where, "fence": request["fence"]})
    if not begun["ok"]:
        return  # it was stopped, or handed to another worker since
    index = begun["next_index"]
    [tool] = [part for part in resume["parts"] if part["type"] == "tool"]
    [asked] = resume["interrupts"]
    answer = asked["answer"]
    if answer["status"] == "resolved" and answer["payload"]["approved"]:
        tool["output"] = await pay(tool["tool_call_id"], tool["input"]["euros"])
        tool["state"], said = "output_available", f"Paid: {tool['output']}."
    else:
        tool["state"], said = "output_denied", "Nothing was paid."
    await write(request, "stream_part", {**where, "index": index, "part": tool})
    await write(request, "stream_chunk", {**where, "index": index + 1, "content": said})
    await write(request, "stream_end", where)


async def write(request: dict[str, Any], command: str, said: dict[str, Any]) -> None:
    """What has waited is written by the connection that claimed it: after a reconnect it is claimed again."""
    reply = await call(command, said)
    if not reply["ok"] and reply["error"]["code"] == "STREAM_CLOSED":
        where = {name: said[name] for name in ("session_id", "message_id")}
        if (await call("stream_start", {**where, "fence": request["fence"]}))["ok"]:
            await call(command, said)


@sio.on("agent_request")
async def agent_request(request: dict[str, Any]) -> None:
    """Returning acknowledges the request: it is ours."""
    task = asyncio.create_task(go_on(request) if "resume" in request else ask(request))
    answers.add(task)
    task.add_done_callback(answers.discard)


@sio.on("connect_error")
def connect_error(error: Any) -> None:
    """An error with `data` does not pass by itself."""
    if isinstance(error, dict):
        refused.update(error.get("data") or {})


async def call(command: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Until it is answered, over reconnects: ids and indices make a repeat harmless."""
    while True:
        try:
            reply: dict[str, Any] = await sio.call(command, payload, timeout=10)
            return reply
        except socketio.exceptions.SocketIOError:
            await asyncio.sleep(1)


async def main() -> None:
    token = os.environ["AGENT_TOKEN"]
    while not sio.connected:
        try:
            await sio.connect(sys.argv[1], auth={"token": token}, transports=["websocket"])
        except socketio.exceptions.ConnectionError:
            if refused:
                sys.exit(f"{refused['code']}: {refused['message']}")  # somebody has to renew the token
            await asyncio.sleep(1 + random.random())
    print("waiting for requests", flush=True)
    await sio.wait()


if __name__ == "__main__":
    asyncio.run(main())

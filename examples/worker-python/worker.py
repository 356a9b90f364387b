"""An agent of your own: a worker that answers what people ask, piece by piece.

    pip install "python-socketio[asyncio-client]"
    AGENT_TOKEN=... python worker.py http://127.0.0.1:8003

Run as many as you like: each request goes to one of them.
"""

import asyncio
import os
import random
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import socketio

sio = socketio.AsyncClient()
answers: dict[str, asyncio.Task[None]] = {}
meanwhile: dict[str, list[dict[str, Any]]] = {}
refused: dict[str, Any] = {}


#: A command, and what it says: a piece of an answer.
Piece = tuple[str, dict[str, Any]]


def text(content: str) -> Piece:
    """More of what people read. Empty: still thinking."""
    return "stream_chunk", {"content": content}


def part(**whole: Any) -> Piece:
    """Another part of the answer, or the same one (by its `id`) as it is now."""
    return "stream_part", {"part": whole}


def more(part_id: str, content: str) -> Piece:
    """More text of a part that is no text: of what the model thinks, or of a tool's input."""
    return "stream_delta", {"part": part_id, "content": content}


async def think(request: dict[str, Any], heard: list[dict[str, Any]]) -> AsyncIterator[Piece]:
    """The pieces of an answer. Put your model here. What is asked while it is written (`when_busy: "steer"`)
    is in `heard`: a step takes it up, and what is left there is the next request."""
    said, before = request["message"]["content"], request["history"]
    yield text("")
    yield part(id="thought", type="reasoning", text="")
    for some in ("They may want to know ", "how much was said before."):
        yield more("thought", some)
    tool = {"id": "count", "type": "tool", "tool_call_id": "call_1", "name": "count_messages", "input": {}}
    yield part(**tool, state="input_available")
    yield part(**tool, state="output_available", output=len(before))
    for word in f"You said “{said}”, and {len(before)} messages came before.".split(" "):
        yield text(word + " ")
        while heard:
            more_asked = heard.pop(0)
            yield part(id=more_asked["message_id"], type="step", steered=[more_asked["message_id"]])
            yield text(f"(And “{more_asked['content']}”.) ")
        await asyncio.sleep(0.05)
    yield part(id="source", type="source", url="https://example.org/counting", title="How to count")


@sio.on("connect_error")
def connect_error(error: Any) -> None:
    """An error with `data` does not pass by itself."""
    if isinstance(error, dict):
        refused.update(error.get("data") or {})


@sio.on("agent_request")
async def agent_request(request: dict[str, Any]) -> None:
    """Returning acknowledges the request: it is ours."""
    message_id = f"answer-{uuid.uuid4()}"
    answers[message_id] = asyncio.create_task(answer(request, message_id))
    answers[message_id].add_done_callback(lambda _: answers.pop(message_id))


@sio.on("agent_steer")
async def agent_steer(event: dict[str, Any]) -> None:
    if event["message_id"] in meanwhile:
        meanwhile[event["message_id"]].append(event["message"])


@sio.on("stream_cancel")
async def stream_cancel(event: dict[str, Any]) -> None:
    """Somebody pressed stop: the text so far is kept."""
    if event["message_id"] in answers:
        answers[event["message_id"]].cancel()


async def answer(request: dict[str, Any], message_id: str) -> None:
    where = {"session_id": request["session_id"], "message_id": message_id}
    begun = await call("stream_start", {**where, "reply_to": request["message"]["message_id"]})
    if not begun["ok"] or begun["message_id"] != message_id:
        return  # another worker was asked, too, and was faster
    heard = meanwhile[message_id] = []
    try:
        pieces: list[Piece] = []
        async for piece in think(request, heard):
            if piece == text(""):
                await call("stream_chunk", {**where, "content": ""})  # no piece: it has no index
                continue
            pieces.append(piece)
            await write(where, pieces)
        pieces.append(("stream_end", {"finish_reason": "stop"}))
        await write(where, pieces)
    except Exception as error:
        await call("stream_end", {**where, "error": {"code": "WORKER_FAILED", "message": str(error)}})
        raise
    finally:
        del meanwhile[message_id]


async def write(where: dict[str, Any], pieces: list[Piece]) -> None:
    """Send the last piece, and before it any that the server turns out to lack."""
    index = len(pieces) - 1
    while index < len(pieces):
        command, said = pieces[index]
        reply = await call(command, {**where, "index": index, **said})
        error = reply.get("error", {})
        if error.get("code") == "RATE_LIMIT":
            await asyncio.sleep(error["retry_after"] / 1000)
        elif error and error["code"] != "INDEX_CONFLICT":
            raise RuntimeError(f"{error['code']}: {error['message']}")
        else:
            index = error["next_index"] if error else reply.get("next_index", len(pieces))


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

"""MCP servers for the tests, and a model's answers that call their tools."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agents.upstream import DONE, Plan, lines, piece
from tests.support.processes import end, free_port, spawn, wait_until

PROGRAM = Path(__file__).parent / "mcp_server.py"
#: Of each event of a stream: some clients of the field want it.
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
STDIO = [sys.executable, str(PROGRAM), "stdio"]


@contextmanager
def tool_server(folder: Path, port: int | None = None) -> Iterator[tuple[str, Any]]:
    """(its URL, its process). What is called is written to `folder / "trace"`."""
    port = port or free_port()
    log = folder / "tools.log"
    settings = {**os.environ, "TRACE": str(folder / "trace")}
    process = spawn([sys.executable, str(PROGRAM), str(port)], log=log, env=settings)

    def ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(ready, process, log)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        end(process)


def reasoned(thought: str) -> bytes:
    event = {**HEAD, "choices": [{"index": 0, "delta": {"reasoning_content": thought}}]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def calling(*calls: tuple[str, Any], text: str = "", thought: str = "") -> Plan:
    """An answer that calls tools by name: with these arguments, or with what is written there."""
    said = [
        {
            "index": number,
            "id": f"call-{number}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(calls)
    ]
    event = {**HEAD, "choices": [{"index": 0, "delta": {"tool_calls": said}}]}
    before = []
    if thought:
        before.append(reasoned(thought))
    if text:
        before.append(piece(text))
    called = b"data: " + json.dumps(event).encode() + b"\n\n"
    return lines(*before, called, piece(finish="tool_calls"), piece(tokens=5), DONE)

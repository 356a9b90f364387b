"""Files that come with a question which is refused: nothing of them is kept."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.doors.test_openai import working
from tests.support.doors import new_session
from tests.support.server import Server

SIZE = 1000
DATA = base64.b64encode(b"x" * SIZE).decode()


def chat_of(session_id: str, number: int) -> tuple[str, dict[str, Any]]:
    file = {"type": "file", "mediaType": "text/plain", "url": f"data:text/plain;base64,{DATA}"}
    message = {"id": f"m{number}", "role": "user", "parts": [file]}
    return "/api/ai/chat", {"id": session_id, "when_busy": "reject", "messages": [message]}


def run_of(session_id: str, number: int) -> tuple[str, dict[str, Any]]:
    source = {"type": "data", "value": DATA, "mimeType": "text/plain"}
    message = {"id": f"m{number}", "role": "user", "content": [{"type": "document", "source": source}]}
    run = {"threadId": session_id, "runId": "r", "when_busy": "reject", "messages": [message]}
    return "/api/ag-ui/Mine", run


@pytest.mark.parametrize("asking", [chat_of, run_of])
async def test_they_count_for_nobody(
    asking: Callable[[str, int], tuple[str, dict[str, Any]]],
    sqlite_url: str,
    new_server: Callable[..., Server],
) -> None:
    node = new_server(sqlite_url, MAX_STORED_BYTES_PER_USER=str(SIZE + SIZE // 2))
    async with working(node) as (worker, model), node.api() as api:
        session_id = await new_session(node, agent_id=int(model))
        await api.post(f"/api/chat/sessions/{session_id}/messages", json={"content": "first"})
        await worker.write(await worker.request(), "so ", end=False)
        for number in range(3):
            path, body = asking(session_id, number)
            async with asyncio.timeout(20):
                while (refused := await api.post(path, json=body)).status_code == 413:
                    pass  # what was refused before is about to go
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "AGENT_BUSY")

"""Requests that come to no route: heads that are too large, and bytes that a request line may not have."""

import asyncio
import json
import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.support.doors import enter, new_session
from tests.support.server import Server
from tests.support.web import web_client


async def raw(node: Server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    writer.close()
    return int(head[0].split()[1]), headers, body


async def test_a_head_that_is_too_large_is_told(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, CORS_ORIGINS="https://app.example")
    huge = {"Authorization": "Bearer " + "x" * 16_500}
    async with web_client(base_url=node.url) as api:
        for path in ("/api/chat/sessions", "/socket.io/?EIO=4&transport=polling", "/files/x"):
            answer = await api.get(path, headers={**huge, "Origin": "https://app.example"})
            assert answer.status_code == 431
            error = answer.json()["error"]
            assert (error["code"], error["details"]) == ("PAYLOAD_TOO_LARGE", {"limit": 16384})
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
        answer = await api.get("/api/chat/sessions", headers={**huge, "Origin": "https://elsewhere.example"})
        assert answer.status_code == 431
        assert "access-control-allow-origin" not in answer.headers


async def test_letters_as_they_are_in_an_address(parley: Server) -> None:
    session = await new_session(parley)
    async with enter("websocket", parley, "alice", session) as alice:
        sent = await alice.message("내일 회의 합시다")
    authorization = f"Authorization: Bearer {parley.token('alice')}\r\n"
    for word in ("회의", quote("회의")):
        line = f"GET /api/chat/search?q={word} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n"
        status, _, body = await raw(parley, line.encode())
        assert status == 200
        assert [hit["message_id"] for hit in json.loads(body)["results"]] == [sent["message_id"]]


@pytest.mark.parametrize("line", ["GET / HTTP/9.9", "NONSENSE"])
async def test_what_is_no_request_is_an_error_object(parley: Server, line: str) -> None:
    status, headers, body = await raw(parley, f"{line}\r\nHost: x\r\n\r\n".encode())
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["code"] == "VALIDATION_ERROR"


async def test_all_of_ipv6_is_all_of_ipv4_too(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, HOST="::")  # it is asked at 127.0.0.1 whether it is there
    with socket.create_connection(("::1", node.port), timeout=5) as other:
        other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")

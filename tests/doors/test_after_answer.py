"""Bodies that nobody waits for, at the routes: the answer arrives, and the rest is not taken."""

import asyncio
import json

from tests.engine.kit import LIMIT, Raw
from tests.support.server import Server

HUGE = 64 * 1024 * 1024
#: What is taken after an answer, and what the kernel's buffers of both sides may hold.
TAKEN = 16 * 1024 * 1024
TOKEN = {"Authorization": "Bearer {token}"}
REQUESTS = [
    ("POST", "/api/chat", {}, 401, "UNAUTHORIZED"),
    ("POST", "/api/chat", {"Authorization": "Bearer nonsense"}, 401, "UNAUTHORIZED"),
    ("POST", "/api/chat", TOKEN | {"Origin": "https://elsewhere.example"}, 403, "ORIGIN_NOT_ALLOWED"),
    ("POST", "/api/chat", TOKEN, 413, "PAYLOAD_TOO_LARGE"),
    ("GET", "/api/chat/sessions", TOKEN, 200, None),
    ("POST", "/nowhere", {}, 404, None),
    ("PUT", "/healthz", {}, 405, None),
]


async def test_a_huge_body_is_answered_and_not_read(parley: Server) -> None:
    async def ask(
        request: tuple[str, str, dict[str, str], int, str | None], chunked: bool
    ) -> tuple[str, int, str | None, bool]:
        method, path, headers, _, code = request
        fields = {name: value.format(token=parley.token("alice")) for name, value in headers.items()}
        fields |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(HUGE)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if chunked else b" " * 65536
        taken = 0

        async def send() -> None:
            nonlocal taken
            try:
                for _ in range(HUGE // len(piece)):
                    raw.send(piece)
                    await raw.writer.drain()
                    taken += len(piece)
            except ConnectionError:
                pass

        async with await Raw.connect(parley.port) as raw:
            raw.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
            sending = asyncio.create_task(send())
            status, _, body = await raw.response()
            async with asyncio.timeout(LIMIT):
                await raw.ended()
                await sending
        return path, status, json.loads(body)["error"]["code"] if code else None, taken < TAKEN

    for chunked in (False, True):
        answers = await asyncio.gather(*(ask(request, chunked) for request in REQUESTS))
        assert answers == [(path, status, code, True) for _, path, _, status, code in REQUESTS]

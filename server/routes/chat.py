"""The chat of `examples/chat` at `/chat/`, with DEBUG, where `make run` could bundle it.

What a page that can mint tokens runs is served only under the name that its content gives it. A ROOT_PATH may
be `/chat`, too: below that one, and behind a proxy that takes it away, there is no chat.
"""

import asyncio
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from server.routes.common import page
from server.routes.pages import HEADERS, TYPES, nothing
from server.routes.reading import services_of

FOLDER = Path("data/chat")
NAME = re.compile(r"[0-9a-f]{32}\.(?:js|css)")
#: A year: another content is another name.
KEPT = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}


async def index(request: Request) -> Response:
    return await _file(request, "index.html", HEADERS)


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    return await _file(request, name, KEPT) if NAME.fullmatch(name) else nothing()


async def _file(request: Request, name: str, headers: dict[str, str]) -> Response:
    if not services_of(request).settings.debug:
        return nothing()
    content = await asyncio.to_thread(_content, FOLDER / name)
    if content is None:
        return nothing()
    return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)


def _content(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    fits = file.suffix == ".html" or hashlib.sha256(content).hexdigest().startswith(file.stem)
    return content if fits else None


ROUTES = [page("/chat/", index), page("/chat/{name}", asset)]

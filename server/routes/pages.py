"""Pages for people: the playground (with DEBUG), `/docs/`, `/openapi.json`, `/asyncapi.json`, `/vendor/*`.

Pages are files of `server/web/`; the documentation is files of `server/site/`, which `scripts/build_site.py`
builds. Nothing here knows a session.
"""

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from events.event import to_json
from server.contract import VERSION, asyncapi, openapi
from server.routes.common import features_of, page, reply
from server.routes.reading import services_of

WEB = Path(__file__).resolve().parent.parent / "web"
SITE = Path(__file__).resolve().parent.parent / "site"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
#: Everything from here, nothing inline; pictures also from memory; no text is ever read as HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@lru_cache(maxsize=8)
def _files(folder: Path) -> frozenset[str]:
    return frozenset(file.name for file in folder.iterdir() if file.suffix in TYPES)


def _nothing() -> Response:
    return reply({"error": {"code": "UNKNOWN_COMMAND", "message": "No such path", "retryable": False}}, 404)


async def playground(request: Request) -> Response:
    if not services_of(request).settings.debug:
        return _nothing()
    root = services_of(request).settings.root_path
    return Response(_playground(root), media_type=TYPES[".html"], headers=HEADERS)


@lru_cache(maxsize=8)
def _playground(root: str) -> str:
    """Its links as they are below ROOT_PATH. Its modules find everything else from their own address."""
    return re.sub(r'((?:href|src)=")/', rf"\g<1>{root}/", (WEB / "index.html").read_text())


async def asset(request: Request) -> Response:
    """The playground's modules, with DEBUG."""
    name = request.path_params["name"]
    if name not in _files(WEB) or not services_of(request).settings.debug:
        return _nothing()
    return FileResponse(WEB / name, media_type=TYPES[Path(name).suffix], headers=HEADERS)


async def vendor(request: Request) -> Response:
    """Published packages as they are, where `make run` could fetch them."""
    content = await features_of(request).vendor.content(request.path_params["name"])
    return Response(content, media_type=TYPES[".js"], headers=HEADERS) if content else _nothing()


@lru_cache(maxsize=8)
def _openapi(url: str | None) -> bytes:
    """Made once: anybody may ask for it, as often as they like."""
    return to_json(openapi.document(VERSION, url))


@lru_cache(maxsize=8)
def _asyncapi(host: str, root: str) -> bytes:
    return to_json(asyncapi.document(VERSION, host, root))


async def openapi_json(request: Request) -> Response:
    settings = services_of(request).settings
    return Response(_openapi(settings.base or settings.root_path or None), media_type="application/json")


async def asyncapi_json(request: Request) -> Response:
    settings = services_of(request).settings
    host = urlsplit(settings.public_url).netloc if settings.public_url else ""
    host = host or f"127.0.0.1:{settings.service_port}"
    return Response(_asyncapi(host, settings.root_path), media_type="application/json")


@lru_cache(maxsize=1)
def _documents() -> frozenset[str]:
    """What can be asked for: a path that is not one of these is looked up nowhere."""
    return frozenset(file.relative_to(SITE).as_posix() for file in SITE.rglob("*") if file.suffix in TYPES)


async def docs(request: Request) -> Response:
    path = request.path_params["path"]
    name = f"{path}index.html" if path.endswith("/") or not path else path
    if name in _documents():
        return FileResponse(SITE / name, media_type=TYPES[Path(name).suffix], headers=HEADERS)
    if not _documents():
        return Response(
            "The documentation is not built here: `make site` builds it.\n", 404, HEADERS, "text/plain"
        )
    return _nothing()


ROUTES = [
    page("/", playground),
    page("/web/{name}", asset),
    page("/vendor/{name}", vendor),
    page("/openapi.json", openapi_json),
    page("/asyncapi.json", asyncapi_json),
    page("/docs/{path:path}", docs),
]

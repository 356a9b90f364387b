"""Pages for people: the playground (with DEBUG), `/docs/`, `/openapi.json`, `/asyncapi.json`, `/vendor/*`.

Pages are files of `server/web/`, where `client` leads to `clients/js`; the documentation is files of
`server/site/`, which `scripts/build_site.py` builds. Nothing here knows a session.
"""

import asyncio
import json
import re
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from events.event import to_json
from server.contract import VERSION, asyncapi, openapi
from server.routes.common import features_of, page, reply
from server.routes.reading import services_of
from server.vendor import integrity, pins

WEB = Path(__file__).resolve().parent.parent / "web"
SITE = Path(__file__).resolve().parent.parent / "site"
#: Where its files are: those of `clients/js` are the package's own.
FOLDERS = ("", "client", "client/transport")
#: The names by which the playground's modules and those of `clients/js` ask for others.
NAMES = {
    "parley-client": "/web/client/parley.js",
    "parley-client/sse": "/web/client/transport/sse.js",
    "parley-client/websocket": "/web/client/transport/websocket.js",
    "socket.io-client": "/vendor/socket.io.esm.min.js",
}
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
    "default-src 'none'; script-src 'self'{names}; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY.format(names=""),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def _files() -> frozenset[str]:
    found = (file for folder in FOLDERS for file in (WEB / folder).iterdir() if file.suffix in TYPES)
    return frozenset(file.relative_to(WEB).as_posix() for file in found)


def nothing() -> Response:
    return reply({"error": {"code": "UNKNOWN_COMMAND", "message": "No such path", "retryable": False}}, 404)


async def playground(request: Request) -> Response:
    if not services_of(request).settings.debug:
        return nothing()
    root = services_of(request).settings.root_path
    content, names = await asyncio.to_thread(_playground, root)
    policy = POLICY.format(names=f" '{integrity(names.encode(), 'sha256')}'")
    headers = {**HEADERS, "Content-Security-Policy": policy}
    return Response(content, media_type=TYPES[".html"], headers=headers)


def _playground(root: str) -> tuple[str, str]:
    """Its links as they are below ROOT_PATH, and its import map: the policy names that by its hash."""
    content = re.sub(r'((?:href|src)=")/', rf"\g<1>{root}/", (WEB / "index.html").read_text())
    names = json.dumps(_import_map(root))
    return content.replace("{names}", names), names


def _import_map(root: str) -> dict[str, dict[str, str]]:
    """By name and by hash: a browser runs what is here and what was published, and nothing else."""
    client = [name for name in sorted(_files()) if re.fullmatch(r"client/.*\.js", name)]
    hashes = {f"{root}/web/{name}": integrity((WEB / name).read_bytes()) for name in client}
    published = {f"{root}/vendor/{name}": pin.integrity for name, pin in pins().items()}
    return {"imports": {name: root + path for name, path in NAMES.items()}, "integrity": hashes | published}


async def asset(request: Request) -> Response:
    """The playground's modules, with DEBUG."""
    name = request.path_params["name"]
    if name not in _files() or not services_of(request).settings.debug:
        return nothing()
    return FileResponse(WEB / name, media_type=TYPES[Path(name).suffix], headers=HEADERS)


async def vendor(request: Request) -> Response:
    """Published packages as they are, where `make run` could fetch them."""
    content = await features_of(request).vendor.content(request.path_params["name"])
    return Response(content, media_type=TYPES[".js"], headers=HEADERS) if content else nothing()


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
    return nothing()


ROUTES = [
    page("/", playground),
    page("/web/{name:path}", asset),
    page("/vendor/{name}", vendor),
    page("/openapi.json", openapi_json),
    page("/asyncapi.json", asyncapi_json),
    page("/docs/{path:path}", docs),
]

"""The request that opened a session, kept small: what it said, and its WSGI-like environ on demand.

python-socketio's own environ is a dict of thirty entries for as long as a connection lives (3 KiB).
"""

import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal

from server.engine.asgi import Headers, Scope
from server.engine.heads import Head, read

#: Bytes of a head that is kept as it came, as long as its session has not shown whose it is: to go through
#: its lines costs more.
SMALL = 1024
Transport = Literal["polling", "websocket"]
#: The lines of a head that somebody will ask for.
Keep = Callable[[Headers], list[tuple[bytes, bytes]]]


class Handshake(MutableMapping[str, Any]):
    """Method, path, query and headers of the opening request, and where it came from.

    As a mapping it is the environ that python-socketio's handlers get: made when it is first looked at, and
    forgotten again by `compact`.
    """

    __slots__ = (
        "_environ", "_headers", "client", "method", "path", "query_string", "scheme", "size", "transport",
    )  # fmt: skip

    def __init__(self, scope: Scope, transport: Transport, keep: Keep | None = None) -> None:
        """`keep`: which lines will be asked for; None keeps all."""
        self.transport = transport  # that it began with
        self.method: str = scope.get("method", "GET")
        self.path: str = sys.intern(scope["path"])  # it is the same for all
        self.query_string: bytes = scope["query_string"]
        self.scheme: str = scope["scheme"]
        # from the ASGI scope: who may speak for others (X-Forwarded-For) is the server's setting
        self.client: tuple[str, int] | None = scope["client"]
        self._environ: dict[str, Any] | None = None
        headers = read(scope["headers"])
        size = headers.size
        if keep is not None and size > SMALL:
            headers = Head(keep(headers))
            size = headers.size
        self._headers: list[tuple[bytes, bytes]] | bytes = headers
        self.size = len(self.query_string) + size  # bytes that are held of the request, about

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names are in lower case."""
        headers = self._headers
        if not isinstance(headers, bytes):
            return headers
        return [(k, v) for k, _, v in (line.partition(b"\0") for line in headers.splitlines())]

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name."""
        return next((v.decode("latin-1") for k, v in self.headers if k == name), None)

    def environ(self) -> dict[str, Any]:
        """What the mapping holds; REMOTE_ADDR is the peer's, which stock never says."""
        query = self.query_string.decode("latin-1")
        headers = self.headers
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": query,
            "RAW_URI": self.path + ("?" + query if query else ""),
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "asgi",
            "REMOTE_ADDR": self.address,
            "REMOTE_PORT": str(self.client[1]) if self.client else "0",
            "SERVER_NAME": "asgi",
            "SERVER_PORT": "0",
            "wsgi.url_scheme": "https" if self.scheme in ("https", "wss") else "http",
            "wsgi.async": True,
            "asgi.scope": {
                "type": "websocket" if self.transport == "websocket" else "http",
                "method": self.method,
                "path": self.path,
                "query_string": self.query_string,
                "scheme": self.scheme,
                "client": self.client,
                "headers": headers,
            },
        }
        for name, value in headers:
            text = value.decode("latin-1")
            if name in (b"content-type", b"content-length"):
                environ[name.decode().upper().replace("-", "_")] = text
                continue
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            environ[key] = environ[key] + "," + text if key in environ else text
        return environ

    def compact(self) -> None:
        """For as long as the connection lives: without the mapping (what was put into it is lost), and the
        headers as one object instead of a list of tuples."""
        self._environ = None
        # neither byte can be in a header
        self._headers = b"\n".join([k + b"\0" + v for k, v in self.headers])

    def _mapping(self) -> dict[str, Any]:
        if self._environ is None:
            self._environ = self.environ()
        return self._environ

    def __getitem__(self, key: str) -> Any:
        return self._mapping()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._mapping()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

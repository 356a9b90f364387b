"""ROOT_PATH: the path below which a proxy offers the service. Knows no route's meaning.

Some proxies take the prefix away before they pass a request on, others keep it: Parley takes its paths with
and without the prefix."""

from collections.abc import Iterable
from urllib.parse import quote

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from server.config import Settings
from server.config_rules import is_own_path
from server.identity import peer


def without_prefix(scope: Scope, root: str) -> Scope:
    """The same request as it is without `root`, where it has that before one of our addresses."""
    path: str = scope["path"]
    if not (path == root or path.startswith(root + "/")) or is_own_path(path):
        return scope
    raw: bytes = scope.get("raw_path") or path.encode()
    return {
        **scope,
        "path": path[len(root) :] or "/",
        "raw_path": raw.removeprefix(root.encode()) or b"/",
    }


def with_other_slash(scope: Scope, routes: Iterable[BaseRoute], settings: Settings) -> str | None:
    """Where a path leads that lacks its slash at the end, or has one too many; None if nowhere.

    The address has no scheme but where our own proxy tells the client's: TLS may end before us.
    """
    path: str = scope["path"]
    other = path.rstrip("/") if path.endswith("/") else path + "/"
    asked = {**scope, "path": other}
    if not other or all(route.matches(asked)[0] is Match.NONE for route in routes):
        return None
    query = scope["query_string"].decode("latin-1")
    place = settings.root_path + quote(other, safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    scheme = peer.scheme_told(scope, settings)
    host = peer.host_seen(scope, settings)
    return f"{scheme}://{host}{place}" if scheme and host else place

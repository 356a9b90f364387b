"""Which pages may call, and the answer to a page that may not. Verifies no token.

The spelling of origins is in `config_values.py`, the reading of requests in `peer.py`.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from events.errors import OriginNotAllowed
from server import config_values
from server.config import Settings
from server.identity import peer
from storage.buckets import MemoryBuckets
from storage.interfaces import Clock

log = logging.getLogger("parley.origins")

#: Log lines for one refused origin in an hour, and for all of them in a minute: the client chooses the text.
LINES_EACH, LINES_IN_ALL = 1, 20
#: Letters of a refused origin that are repeated to its sender and in the log.
SHOWN = 200


class Origins:
    """PUBLIC_URL's origin and CORS_ORIGINS (contract, section 1).

    With DEBUG also localhost and 127.0.0.1 on our port, by http and https.
    """

    def __init__(self, settings: Settings, monotonic: Clock = time.monotonic) -> None:
        self._settings = settings
        listed = set(settings.cors_origins)
        if settings.public_url is not None:
            listed.add(config_values.origin(settings.public_url))
        self._patterns = [_compiled(entry) for entry in sorted(listed) if "*" in entry]
        self.named = frozenset(entry for entry in listed if "*" not in entry)
        self._lines = MemoryBuckets(monotonic, 1000)

    def allowed(self, origin: str | None, own_port: int | None = None) -> bool:
        """Whether a page with this Origin may call. None, from no browser, may.

        `own_port` is the port that the request came to, where it is not the configured one.
        """
        if origin is None or origin in self.named:
            return True
        same = _normal(origin)
        if same is None:
            return False
        if same in self.named or any(pattern.fullmatch(same) for pattern in self._patterns):
            return True
        if not self._settings.debug:
            return False
        port = self._settings.service_port if own_port is None else own_port
        return any(
            same == config_values.origin(f"{scheme}://{host}:{port}")
            for scheme in ("http", "https")
            for host in ("localhost", "127.0.0.1")
        )

    def admits(self, origin: str | None, scope: Mapping[str, Any]) -> bool:
        """Whether a request with this Origin may come in: a page's, or a native client's that sends the
        address it calls. A refused one is logged."""
        if "parley.caller" in scope or self.allowed(origin, peer.own_port(scope)):
            return True  # another node passed it on, and has asked; or it may
        assert origin is not None  # that one is allowed
        if self._its_own(origin, scope):
            return True
        self.told(origin)
        return False

    def check(self, origin: str | None, scope: Mapping[str, Any]) -> None:
        """Raises OriginNotAllowed."""
        if not self.admits(origin, scope):
            raise self.refusal(origin or "")

    def refusal(self, origin: str) -> OriginNotAllowed:
        """Names the origin as the server got it, and the setting that would admit it."""
        shown = origin[:SHOWN]
        return OriginNotAllowed(
            f"pages of {shown} may not connect: CORS_ORIGINS does not name them",
            details={"origin": shown, "setting": "CORS_ORIGINS"},
        )

    def told(self, origin: str) -> None:
        """A line in the log, as far as there have not been many."""
        shown = origin[:SHOWN]
        in_all = "", float(LINES_IN_ALL), LINES_IN_ALL / 60.0
        if self._lines.wait(*in_all) > 0.0:
            return
        if self._lines.take(shown, float(LINES_EACH), LINES_EACH / 3600.0) <= 0.0:
            self._lines.take(*in_all)
            advice = (
                "no setting admits those" if shown == "null" else "if it is yours, add it to CORS_ORIGINS"
            )
            log.warning("a page of %s was refused: %s", shown, advice)

    def _its_own(self, origin: str, scope: Mapping[str, Any]) -> bool:
        """React Native and websocket-client make an Origin of the very address they call.

        Browsers are not taken by that rule. A page that has its name resolve to this server (DNS rebinding)
        sends the server's address as its Origin, too.
        """
        if peer.from_browser(scope["headers"]):
            return False
        same, host = _normal(origin), peer.host_seen(scope, self._settings)
        if same is None or host is None:
            return False
        # TLS may end at a proxy that does not say so: the client's own scheme counts.
        return _normal(f"{same.partition('://')[0]}://{host}") == same


def _normal(origin: str) -> str | None:
    """An Origin header in one form. None for `null` of sandboxed pages, and for what is no origin."""
    if any(mark in origin.partition("://")[2] for mark in "/?#@*"):
        return None  # more than an origin (RFC 6454, 6.1): no browser sends it
    try:
        return config_values.origin(origin)
    except ValueError:
        return None


def _compiled(entry: str) -> re.Pattern[str]:
    """`*.` is one or more labels, a `*` within a label is a part of that label."""
    scheme, _, rest = entry.partition("://")
    first, _, domain = rest.partition(".")
    if first == "*":
        labels = r"(?:[a-z0-9_-]+\.)+"
    else:
        labels = "[a-z0-9_-]+".join(re.escape(part) for part in first.split("*")) + r"\."
    return re.compile(re.escape(f"{scheme}://") + labels + re.escape(domain))

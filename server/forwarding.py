"""Polling requests for another node's session: passed on, signed, to the address that this node registered.

Knows no session and no Redis. The address is never one that a request names; the signature covers the
client's address, so that limits and logs of the owner see the client and not this node.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
from starlette.types import Message, Receive, Scope, Send

from events.clock import Clock
from events.ids import new_token
from events.signing import Signer
from server.tunnel import tunnel
from storage.errors import Unavailable

log = logging.getLogger("parley.forwarding")

#: Letters of a sid that name its node.
NODE_LETTERS: Final = 16
_NAME: Final = re.compile(r"[0-9a-f]{16}\Z")
#: The header that a node's request to another carries.
HEADER: Final = b"x-parley-forwarded"
#: Seconds that a signature is good for: nodes' clocks may differ so much.
FRESH: Final = 30.0
#: Seconds to connect to another node.
CONNECT: Final = 2.0
#: Seconds that an address is remembered.
REMEMBER: Final = 2.0
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade",
     b"proxy-authorization", b"content-length", b"expect", b"accept-encoding", HEADER)
)  # fmt: skip


class Forwarding:
    """`node` is this one's name, `address_of` where a live node can be reached. `patience`: seconds until an
    owner must have answered a poll."""

    def __init__(
        self,
        node: str,
        address_of: Callable[[str], Awaitable[str | None]],
        client_address: Callable[[Scope], str],
        signer: Signer,
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._node, self._address_of, self._client_address = node, address_of, client_address
        self._signer, self._clock = signer, clock
        self._known: dict[str, tuple[float, str | None]] = {}
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(patience, connect=CONNECT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
            trust_env=False,
            follow_redirects=False,
        )

    def new_sid(self) -> str:
        """Names this node: whoever gets a request for it knows where to pass it."""
        return node_letters(self._node) + new_token()

    # --- on the node that has not the session

    async def elsewhere(self, sid: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """True if this request has been answered: by the owner, or, where that is gone, with the news."""
        owner = sid[:NODE_LETTERS]
        if scope.get("parley.forwarded") or owner == node_letters(self._node) or not _NAME.match(owner):
            return False
        address = await self._address(owner)
        if address is not None:
            if scope["type"] == "websocket":
                passed = await self._tunnel(address, scope)
            else:
                passed = await self._pass_on(owner, address, scope, receive, send)
            if passed:
                return True
        await _gone(scope, send)
        return True

    async def _pass_on(self, owner: str, address: str, scope: Scope, receive: Receive, send: Send) -> bool:
        body = await _body(receive)
        asking = asyncio.ensure_future(self._ask(address, scope, body))
        leaving = asyncio.ensure_future(receive())  # comes when the client goes
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return True
            response = asking.result()
        except httpx.HTTPError as error:
            log.info("node %s did not answer: %s", owner, type(error).__name__)
            self._known.pop(owner, None)
            return False
        finally:
            for task in (asking, leaving):
                task.cancel()
            await asyncio.gather(asking, leaving, return_exceptions=True)
        headers = [(k.lower(), v) for k, v in response.headers.raw if k.lower() not in _HOP_BY_HOP]
        headers.append((b"content-length", b"%d" % len(response.content)))
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})
        return True

    async def _ask(self, address: str, scope: Scope, body: bytes) -> httpx.Response:
        headers = [(k, v) for k, v in scope["headers"] if k not in _HOP_BY_HOP]
        return await self._http.request(
            scope["method"],
            address.rstrip("/") + _target(scope),
            headers=[*headers, self._stamp(scope)],
            content=body or None,
        )

    async def _tunnel(self, address: str, scope: Scope) -> bool:
        """An upgrade to WebSocket that came to the wrong node: its bytes go through this one."""
        protocol = scope["extensions"]["parley.protocol"]["protocol"]
        headers = [(k, v) for k, v in scope["headers"] if k != HEADER]
        try:
            await tunnel(address, _target(scope), [*headers, self._stamp(scope)], protocol, CONNECT)
        except (OSError, TimeoutError) as error:
            log.info("node at %s did not answer: %s", address, type(error).__name__)
            return False
        return True

    def _stamp(self, scope: Scope) -> tuple[bytes, bytes]:
        words = f"{self._clock():.0f} {self._client_address(scope) or '-'}"
        signature = self._signer.sign(f"{scope.get('method', 'GET')} {_target(scope)} {words}")
        return HEADER, f"{words} {signature}".encode()

    async def _address(self, owner: str) -> str | None:
        now = self._clock()
        found = self._known.get(owner)
        if found is not None and now < found[0] + REMEMBER:
            return found[1]
        if len(self._known) > 1000:  # anybody may make up names
            self._known.clear()
        try:
            address = await self._address_of(owner) or None
        except Unavailable:
            address = found[1] if found is not None else None
        self._known[owner] = now, address
        return address

    # --- on the node that has it

    def accept(self, scope: Scope) -> Scope:
        """A request with the client's address instead of the node's that passed it on, if that is proven."""
        stamp = next((v for k, v in scope["headers"] if k == HEADER), None)
        if stamp is None:
            return scope
        headers = [(k, v) for k, v in scope["headers"] if k != HEADER]
        parts = stamp.decode("latin-1").split(" ")
        if len(parts) == 3:
            when, client, signature = parts
            signed = f"{scope.get('method', 'GET')} {_target(scope)} {when} {client}"
            if self._signer.matches(signed, signature) and self._fresh(when):
                headers = [(k, v) for k, v in headers if k != b"x-forwarded-for"]
                address = None if client == "-" else (client, 0)
                return {**scope, "headers": headers, "client": address, "parley.forwarded": True}
        return {**scope, "headers": headers}

    def _fresh(self, when: str) -> bool:
        with contextlib.suppress(ValueError):
            return abs(self._clock() - float(when)) <= FRESH
        return False

    async def close(self) -> None:
        await self._http.aclose()


def node_letters(node: str) -> str:
    """A node's name as it stands in a sid."""
    return node.removeprefix("node_")[:NODE_LETTERS]


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    path = path.partition(b"?")[0]
    return (path + b"?" + query if query else path).decode("latin-1")


async def _gone(scope: Scope, send: Send) -> None:
    """The session went with its node: nothing is wrong with the request, and its client begins anew."""
    if scope["type"] == "websocket":
        scope["extensions"]["parley.protocol"]["protocol"].refuse(410)
        return
    origin = next((v for k, v in scope["headers"] if k == b"origin"), None)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if origin is not None:
        headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
    await send({"type": "http.response.start", "status": 410, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"code":1,"message":"Session ID unknown"}'})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message: Message | dict[str, Any] = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)

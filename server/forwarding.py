"""Requests for another node's session: passed on, proved, to the address that this node registered.

Knows no session and no Redis. The address is never one that a request names. What travels is a request of
our own: not the client's credentials, but a digest of them, and its address, so that limits and logs of the
owner see the client and not this node.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
from starlette.types import Message, Receive, Scope, Send

from events import errors
from events.clock import Clock
from events.ids import new_token
from server.engine.answers import counted, once_taken
from server.engine.requests import PATH, Headers, TooLong, credentials, error, query_of, read_body
from server.engine.strangers import Strangers
from server.errors import retry_after
from server.identity.peer import FORWARDED, network_of
from server.tunnel import tunnel
from server.underway import Underway
from storage.errors import StorageUnavailable
from storage.nodekey import NodeKey

log = logging.getLogger("parley.forwarding")

#: Letters of a sid that name its node.
NODE_LETTERS: Final = 16
_SID: Final = re.compile(rb"[0-9a-f]{16}[A-Za-z0-9_-]{1,64}\Z")
#: Seconds to connect to another node.
CONNECT: Final = 2.0
#: Seconds that a connection to another node is kept: less than the five after which that node closes it. What
#: is passed on just then would be answered as if the node were gone.
KEPT: Final = 2.0
#: Seconds that an address is remembered.
REMEMBER: Final = 2.0
#: Bytes of bodies that wait for their owner on one machine, together, as far as they have come: some hundred
#: of the largest. Where there are more, the oldest goes.
BODIES: Final = 32 * 1024 * 1024
#: What a request weighs besides its body.
REQUEST: Final = 4096
#: One address has this part of all polls and WebSockets under way: an office behind one goes on.
POLLS_EACH, POLLS_LEAST = 10, 100
#: Seconds in which an owner must have said whether it has a session, and that this is remembered.
ASKED: Final = 5.0
HAS: Final = 30.0
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"content-length")
)


class _Coming:
    """A body on its way, which has its time until it is turned away."""

    def __init__(self) -> None:
        self.time = asyncio.timeout(None)

    def abort(self) -> None:
        self.time.reschedule(asyncio.get_running_loop().time())


class Forwarding:
    """`node` is this one's name, `address_of` where a live node can be reached, by its own word. `patience`:
    seconds until an owner must have answered a poll. `most`: requests under way, `max_body` in bytes;
    `processes` share the machine's memory."""

    def __init__(
        self,
        node: str,
        address_of: Callable[[str], Awaitable[str | None]],
        client_address: Callable[[Scope], str],
        key: NodeKey,
        monotonic: Clock,
        *,
        patience: float,
        most: int,
        max_body: int,
        place_of: Callable[[str], str] = network_of,
        processes: int = 1,
    ) -> None:
        self._node, self._address_of, self._client_address = node, address_of, client_address
        self._key, self._monotonic, self._max_body = key, monotonic, max_body
        self._known: dict[str, tuple[float, str | None]] = {}
        self._polls = Underway(most, max(POLLS_LEAST, most // POLLS_EACH))
        self._bodies = Strangers(max(BODIES // processes, 16 * max_body), place_of)
        self._has: dict[tuple[str, bytes | None], float] = {}
        self._patience = httpx.Timeout(patience, connect=CONNECT)
        self._http = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEPT),
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
        if scope.get("parley.forwarded") or owner == node_letters(self._node):
            return False
        if scope.get("parley.misled"):  # passed on again it would come back: an address is not its node's
            return False
        if not _SID.match(sid.encode("latin-1")):
            return False
        address = await self._address(owner)
        if address is None:
            await _answer(scope, send, 410, error(1))
            return True
        client = self._client_address(scope)
        if scope.get("method") == "POST":
            passed = await self._post(owner, address, scope, receive, send, client)
        elif refused := self._polls.enter(client):
            await _answer(scope, send, refused, *_again(refused))
            return True
        else:
            # Whose session it is is known to its owner alone: what waits counts for its network.
            counted(scope, f"\0{network_of(client)}")
            try:
                if scope["type"] == "websocket":
                    passed = await self._tunnel(owner, address, scope, client)
                else:
                    passed = await self._pass_on(owner, address, scope, receive, send, client, b"")
            finally:
                once_taken(scope, lambda: self._polls.leave(client))
        if not passed:  # the session went with its node: its client begins anew
            await _answer(scope, send, 410, error(1))
        return True

    async def _post(
        self, owner: str, address: str, scope: Scope, receive: Receive, send: Send, client: str
    ) -> bool:
        """Nobody is refused for want of room: the body that has been on its way the longest goes."""
        coming = _Coming()
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        self._bodies.add(coming, self._bodies.place_of(client), REQUEST)
        try:
            async with coming.time:
                has = await self._owner_has(owner, address, scope, client)
                if not has:
                    if has is not None:
                        await _answer(scope, sending, 400, error(1), _CLOSE)
                    return has is not None
                body = await self._body(scope, receive, sending, coming)
                if body is None:
                    return True
                return await self._pass_on(owner, address, scope, receive, sending, client, body)
        except TimeoutError:
            if not began:
                body, headers = _again(503)
                await _answer(scope, send, 503, body, [*headers, *_CLOSE])
            return True
        finally:
            self._bodies.discard(coming)

    async def _owner_has(self, owner: str, address: str, scope: Scope, client: str) -> bool | None:
        """Whether its owner knows the session as this caller's: asked before a body is waited for. None where
        the owner is gone."""
        now = self._monotonic()
        key = _own_target(scope), credentials(scope)
        if now < self._has.get(key, 0.0):
            return True
        try:
            answer = await self._ask(owner, address, {**scope, "method": "HEAD"}, b"", client, ASKED)
        except httpx.HTTPError as failure:
            self._lost(owner, failure)
            return None
        if answer.status_code == 404:
            return False
        if answer.status_code == 204:
            if len(self._has) >= 10_000:
                self._has.clear()
            self._has[key] = now + HAS
        return True

    async def _pass_on(
        self, owner: str, address: str, scope: Scope, receive: Receive, send: Send, client: str, body: bytes
    ) -> bool:
        asking = asyncio.ensure_future(self._ask(owner, address, scope, body, client))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return True
            response = asking.result()
        except httpx.HTTPError as failure:
            self._lost(owner, failure)
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

    def _lost(self, owner: str, failure: Exception) -> None:
        log.info("node %s did not answer: %s", owner, type(failure).__name__)
        self._known.pop(owner, None)

    async def _body(self, scope: Scope, receive: Receive, send: Send, coming: _Coming) -> bytes | None:
        """None if that has been answered, or there is nobody to answer. The owner's bounds hold here, too."""

        async def counted() -> Message:
            message = await receive()
            self._bodies.grows(coming, len(message.get("body", b"")))
            return message

        try:
            body = await read_body(scope, counted, self._max_body)
        except ConnectionError:
            return None
        except TimeoutError:
            await _answer(scope, send, 408, error(3), _CLOSE)
            return None
        if isinstance(body, TooLong):
            await _answer(scope, send, 413, error(6), _CLOSE)
            return None
        return body

    async def _ask(
        self,
        owner: str,
        address: str,
        scope: Scope,
        body: bytes,
        client: str,
        patience: float | None = None,
    ) -> httpx.Response:
        target = _own_target(scope)
        headers = [*_origin(scope), self._proof(owner, scope["method"], target, client, scope, body)]
        if body:
            headers.append((b"content-type", b"text/plain;charset=UTF-8"))
        url = address.rstrip("/") + target
        time = self._patience if patience is None else httpx.Timeout(patience, connect=CONNECT)
        content = body or None
        return await self._http.request(scope["method"], url, headers=headers, content=content, timeout=time)

    async def _tunnel(self, owner: str, address: str, scope: Scope, client: str) -> bool:
        """An upgrade to WebSocket that came to the wrong node: its bytes go through this one."""
        protocol = scope["extensions"]["parley.protocol"]["protocol"]
        target = _own_target(scope)
        headers = [
            (b"host", urlsplit(address).netloc.encode()),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-version", b"13"),
            *((k, v) for k, v in scope["headers"] if k == b"sec-websocket-key"),
            *_origin(scope),
            self._proof(owner, "GET", target, client, scope, b""),
        ]
        try:
            await tunnel(address, target.encode(), headers, protocol, CONNECT)
        except (OSError, TimeoutError) as failure:
            self._lost(owner, failure)
            return False
        return True

    def _proof(
        self, owner: str, method: str, target: str, client: str, scope: Scope, body: bytes
    ) -> tuple[bytes, bytes]:
        caller = credentials(scope)
        words = " ".join((client or "-", caller.hex() if caller else "-", hashlib.sha256(body).hexdigest()))
        proof = self._key.prove(*_said(owner, method, target, words))
        return FORWARDED, words.encode() + b" " + base64.urlsafe_b64encode(proof)

    async def _address(self, owner: str) -> str | None:
        now = self._monotonic()
        found = self._known.get(owner)
        if found is not None and now < found[0] + REMEMBER:
            return found[1]
        if len(self._known) > 1000:  # anybody may make up names
            self._known.clear()
        try:
            address = await self._address_of(owner) or None
        except StorageUnavailable:
            address = found[1] if found is not None else None
        self._known[owner] = now, address
        return address

    # --- on the node that has it

    def accept(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """A request with the client's address and credentials instead of the node's that passed it on, if it
        is proved: for this node, method, target and body, and once."""
        stamps = [value for name, value in scope["headers"] if name == FORWARDED]
        if not stamps:
            return scope, receive
        headers = [(k, v) for k, v in scope["headers"] if k not in (FORWARDED, b"x-forwarded-for")]
        words, _, proof = stamps[0].decode("latin-1").rpartition(" ")
        said = _said(node_letters(self._node), scope.get("method", "GET"), _target(scope), words)
        if len(stamps) > 1 or not self._key.holds(_decoded(proof), *said):
            plain = [(k, v) for k, v in scope["headers"] if k != FORWARDED]
            return {**scope, "headers": plain, "parley.misled": True}, receive
        client, caller, body = words.split(" ")
        passed = {
            **scope,
            "headers": headers,
            "client": None if client == "-" else (client, 0),
            "parley.forwarded": True,
            "parley.caller": None if caller == "-" else bytes.fromhex(caller),
        }
        return passed, _checked(receive, body) if scope.get("method") == "POST" else receive

    async def close(self) -> None:
        await self._http.aclose()


_CLOSE: Final = [(b"connection", b"close")]


def node_letters(node: str) -> str:
    """A node's name as it stands in a sid."""
    return node.removeprefix("node_")[:NODE_LETTERS]


def _said(owner: str, method: str, target: str, words: str) -> tuple[bytes, ...]:
    return b"request", owner.encode(), method.encode(), target.encode("latin-1"), words.encode("latin-1")


def _decoded(proof: str) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.urlsafe_b64decode(proof)
    return b""


def _checked(receive: Receive, digest: str) -> Receive:
    """`receive` of a body that has this digest; of another one the end never comes."""
    seen = hashlib.sha256()

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            seen.update(message.get("body", b""))
            if not message.get("more_body") and seen.hexdigest() != digest:
                return {"type": "http.disconnect"}
        return message

    return checked


async def _left(receive: Receive) -> None:
    """Returns when the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass  # a body that a GET does not have


def _own_target(scope: Scope) -> str:
    """What the owner is asked: of the client's parameters, the one that tells its session."""
    transport = "websocket" if scope["type"] == "websocket" else "polling"
    return f"{PATH}?EIO=4&transport={transport}&sid={query_of(scope)[b'sid'].decode('latin-1')}"


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path.partition(b"?")[0] + b"?" + query).decode("latin-1")


def _origin(scope: Scope) -> Headers:
    """The owner answers with the headers that this page needs."""
    return [(k, v) for k, v in scope["headers"] if k == b"origin"]


def _again(status: int) -> tuple[bytes, Headers]:
    """What to say where there is no room for a request: body and headers."""
    refusal = errors.RateLimited() if status == 429 else errors.Unavailable()
    seconds = retry_after(refusal) or 1
    return error(3, {"error": refusal.as_dict()}), [(b"retry-after", b"%d" % seconds)]


async def _answer(scope: Scope, send: Send, status: int, body: bytes, more: Headers | None = None) -> None:
    if scope["type"] == "websocket":
        scope["extensions"]["parley.protocol"]["protocol"].refuse(status, more or (), body)
        return
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *(more or ())]
    headers.append((b"content-length", b"%d" % len(body)))
    for _, origin in _origin(scope):  # it has been asked whether it may come in
        headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

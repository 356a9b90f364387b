"""Pub/sub: a node hears only the channels it has subscribed to. Knows no log and no room's meaning."""

import asyncio
import logging
import secrets
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from storage.errors import BusUnavailable
from storage.interfaces import Event, Receiver
from storage.nodekey import NodeKey
from storage.redis import wire
from storage.redis.client import RedisClient
from storage.redis.heard import Heard
from storage.redis.link import Link, error_code
from storage.redis.round import Round

log = logging.getLogger("parley.redis")

#: Seconds between two lines about signals that no node sent: whoever writes them must not fill the log.
TOLD_EVERY = 60.0


class RedisBus:
    """`storage.interfaces.Bus`. `node` names this process. `on_emit` gets what stock emitters publish.

    Signals are proved: what they end, hand over and revoke is no business of others who write to Redis."""

    def __init__(
        self, client: RedisClient, node: str, key: NodeKey, on_emit: Callable[[bytes], None]
    ) -> None:
        self._client, self._key = client, key
        self._told = float("-inf")  # when the log last told of a signal that no node sent
        self._prefix = client.prefix
        mine, questions = f"{client.prefix}:node:{node}", f"{client.prefix}:history"
        self._own = (mine, f"{client.prefix}:all", self.emitters, questions)
        self._emitted = self.emitters.encode()
        self._heard = Heard()
        self._round = Round(client, self._heard, questions, mine)
        self.agree = self._round.agree
        client.on_epoch = self._epoch_began
        self._link: Link | None = None
        self._receiver: Receiver | None = None
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        # Confirmations come in the order of the commands: one for each channel of each.
        self._expected: deque[asyncio.Future[None] | None] = deque()
        self._canaries: dict[bytes, asyncio.Future[None]] = {}
        self._on_emit = on_emit

    @property
    def emitters(self) -> str:
        """The channel that a stock `socketio.AsyncRedisManager(channel=…, write_only=True)` publishes to."""
        return f"{self._prefix}:emit"

    # --- Bus

    async def connect(self, receiver: Receiver) -> None:
        """Raises StorageUnavailable."""
        self._drop()
        await self._client.up()
        link, _ = await self._client.endpoint.connect(self._pushed)
        if link.closed:
            raise BusUnavailable("the subscriber's connection broke")
        self._link, self._receiver = link, receiver
        link.on_closed = lambda: self._broke(link)
        await self._subscribe(self._own)

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Raises StorageUnavailable."""
        await self._subscribe([f"{self._prefix}:{channel}" for channel in channels])

    async def _subscribe(self, names: Sequence[str]) -> None:
        link = self._link
        if link is None or link.closed:
            raise BusUnavailable("no subscriber's connection")
        new = [name for name in dict.fromkeys(names) if name not in self._confirmed]
        loop = asyncio.get_running_loop()
        for name in new:
            future = self._confirmed[name] = loop.create_future()
            self._expected.append(future)
        if new:
            link.send("SUBSCRIBE", *new)
        waiting = [f for name in names if not (f := self._confirmed[name]).done()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self._client.timeout)
            if late:
                link.close("a subscription was not confirmed in time")
        if link.closed or self._link is not link:
            raise BusUnavailable("the subscriber's connection broke")

    def unsubscribe(self, channel: str) -> None:
        name = f"{self._prefix}:{channel}"
        self._heard.forget(name.encode())
        if self._link is not None and self._confirmed.pop(name, None) is not None:
            self._expected.append(None)
            # One connection, commands in order: a later SUBSCRIBE is confirmed after this.
            self._link.send("UNSUBSCRIBE", name)

    def publish(self, channel: str, *events: Event) -> None:
        for event in events:
            self._client.call("PUBLISH", f"{self._prefix}:{channel}", wire.volatile(event))

    def signal(self, channel: str, name: str, body: bytes) -> None:
        full, said = f"{self._prefix}:{channel}", name.encode() + b"\0" + body
        proof = self._key.prove(b"signal", full.encode(), said)
        self._client.call("PUBLISH", full, wire.signal(proof, said))

    async def echo(self) -> str:
        word = secrets.token_bytes(8)
        heard = self._canaries[word] = asyncio.get_running_loop().create_future()
        try:
            epoch = await self._round.look(self._own[0], word)
            async with asyncio.timeout(self._client.timeout):
                await heard
        except TimeoutError as error:
            raise BusUnavailable("the canary did not come back") from error
        finally:
            del self._canaries[word]
        return epoch

    async def close(self) -> None:
        self._round.close()
        self._drop()

    # --- the connection

    def _drop(self) -> None:
        link, self._link, self._receiver = self._link, None, None
        if link is not None:
            link.on_closed = lambda: None
            link.close()
        for future in (*self._confirmed.values(), *self._expected):
            if future is not None and not future.done():
                future.set_result(None)  # who waits looks at the link
        self._confirmed.clear()
        self._expected.clear()

    def _broke(self, link: Link) -> None:
        if self._link is link:
            receiver = self._receiver
            self._drop()
            if receiver is not None:
                receiver.on_lost()

    def _pushed(self, reply: Any) -> None:
        if not isinstance(reply, list):
            if self._link is not None:
                if error_code(str(reply)) == "NOPERM":
                    self._link.on_refused(str(reply))
                self._link.close(f"the subscriber's connection: {reply}")
            return
        kind, channel, data = reply
        if kind == b"message":
            try:
                self._message(channel, data)
            except (msgspec.DecodeError, struct.error, UnicodeDecodeError):
                log.warning("dropped a message of others on %s", channel)
        elif self._expected:
            future = self._expected.popleft()
            if future is not None and not future.done():
                future.set_result(None)

    def _message(self, channel: bytes, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        if channel == self._emitted:
            self._on_emit(data)
            return
        kind = data[0] if data else 0
        if kind == wire.EVENT:
            event = wire.stamped(data)
            whole = self._heard.take(channel, event)
            receiver.on_event(event)
            if not whole:
                self._round.doubt()
                receiver.on_lost()
        elif kind == wire.VOLATILE:
            receiver.on_event(wire.plain(data))
        elif kind == wire.SIGNAL:
            proof, said = wire.signalled(data)
            if not self._key.holds(proof, b"signal", channel, said):
                return self._nobody_said(channel.decode())
            called, _, content = said.partition(b"\0")
            receiver.on_signal(channel.decode()[len(self._prefix) + 1 :], called.decode(), content)
        elif kind == wire.CANARY:
            word, epoch = data[1:9], data[9:].decode()
            heard = self._canaries.get(word)
            if heard is None:
                self._round.answered(word, epoch)
            elif not heard.done():
                heard.set_result(None)
        elif kind == wire.QUESTION:
            self._round.asked(data[1:])
        elif kind == wire.HISTORY:
            self._round.doubt()

    def _epoch_began(self, epoch: str) -> None:
        if self._receiver is not None:
            self._receiver.on_signal("all", "epoch", epoch.encode())

    def _nobody_said(self, channel: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._told + TOLD_EVERY:
            self._told = now
            log.warning("dropped a signal on %s: no node with this SECRET_KEY sent it now", channel)

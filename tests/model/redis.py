"""A Redis in this process: the commands that Parley uses, on data that can be lost, hang, or go back.

Nodes reach it through their own `Link`, over a connection whose bytes travel in virtual time.
"""

import asyncio
import contextvars
import hashlib
import secrets
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, cast

import hiredis

from storage.redis.endpoint import RedisEndpoint
from storage.redis.link import Link
from tests.model.loop import TICK, Process, VirtualLoop, current_process
from tests.model.lua import Engine, Failure, Reply, Status

ENGINE = Engine()
#: Commands that are about the connection.
_OF_A_WIRE = (b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE")
OK = Status(b"OK")


class Data:
    """Keys, their values and when they go (in the server's seconds)."""

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}
        self.ends: dict[bytes, float] = {}


class Server:
    """`clock` gives the server's epoch seconds; `latency` how long a message travels, in seconds."""

    def __init__(self, clock: Callable[[], float], latency: Callable[[], float]) -> None:
        self.clock, self.latency = clock, latency
        self.data = Data()
        self.run = secrets.token_hex(20)
        self.scripts: dict[bytes, bytes] = {}
        self.wires: list[Wire] = []
        self.up, self.hung = True, False
        self.cut_off: set[Process | None] = set()  # whose bytes vanish, both ways
        self._commands: dict[bytes, Callable[..., Reply]] = {}  # as they are written

    # --- faults

    def saved(self) -> Data:
        return deepcopy(self.data)

    def restart(self, data: Data | None = None) -> None:
        """Another process, empty or with what was saved. Connections break."""
        self.data = data or Data()
        self.run = secrets.token_hex(20)
        self.scripts.clear()
        self.reset_all()

    def goes_back(self, data: Data) -> None:
        """The same process with earlier data; connections stay."""
        self.data = data

    def down(self) -> None:
        self.up = False
        self.reset_all()

    def hang(self) -> None:
        self.hung = True

    def recover(self) -> None:
        self.up = True
        self.hung = False
        for wire in list(self.wires):
            wire.work_off()

    def reset_all(self) -> None:
        for wire in list(self.wires):
            wire.reset()

    # --- commands

    def execute(self, words: Sequence[bytes], wire: "Wire | None" = None) -> Reply:
        command = self._commands.get(words[0]) or self._command(words[0])
        return command(*words[1:]) if words[0].upper() not in _OF_A_WIRE else command(wire, *words[1:])

    def _command(self, word: bytes) -> Callable[..., Reply]:
        command: Callable[..., Reply] | None = getattr(self, f"_{word.decode().lower()}", None)
        if command is None:
            raise NotImplementedError(f"the simulated Redis lacks {word.decode()}")
        self._commands[word] = command
        return command

    def find(self, key: bytes) -> Any:
        end = self.data.ends.get(key)
        if end is not None and end <= self.clock():
            self.drop(key)
        return self.data.values.get(key)

    def drop(self, key: bytes) -> bool:
        self.data.ends.pop(key, None)
        return self.data.values.pop(key, None) is not None

    def made(self, key: bytes, kind: type) -> Any:
        found = self.find(key)
        if found is None:
            found = self.data.values[key] = kind()
        elif not isinstance(found, kind):
            raise Failure("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def _tidy(self, key: bytes) -> None:
        if not self.data.values.get(key):
            self.drop(key)

    def _ping(self) -> Reply:
        return Status(b"PONG")

    def _auth(self, *_: bytes) -> Reply:
        return OK

    def _select(self, _: bytes) -> Reply:
        return OK

    def _client(self, *_: bytes) -> Reply:
        return OK

    def _role(self) -> Reply:
        return [b"master", 0, []]

    def _info(self, *_: bytes) -> Reply:
        return (
            f"# Server\r\nredis_version:7.0.15\r\nrun_id:{self.run}\r\n"
            f"# Replication\r\nrole:master\r\nmaster_replid:{self.run}\r\n"
        ).encode()

    def _time(self) -> Reply:
        now = self.clock()
        return [b"%d" % int(now), b"%d" % int((now - int(now)) * 1e6)]

    def _script(self, how: bytes, source: bytes = b"") -> Reply:
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        self.scripts[sha] = source
        return sha

    def _evalsha(self, sha: bytes, count: bytes, *words: bytes) -> Reply:
        source = self.scripts.get(sha)
        if source is None:
            raise Failure("NOSCRIPT No matching script. Please use EVAL.")
        return ENGINE.run(source, words[: int(count)], words[int(count) :], self.execute)

    def _eval(self, source: bytes, count: bytes, *words: bytes) -> Reply:
        return ENGINE.run(source, words[: int(count)], words[int(count) :], self.execute)

    # keys

    def _del(self, *keys: bytes) -> Reply:
        return sum(self.drop(key) for key in keys if self.find(key) is not None)

    _unlink = _del

    def _exists(self, *keys: bytes) -> Reply:
        return sum(self.find(key) is not None for key in keys)

    def _end(self, key: bytes, end: float) -> Reply:
        if self.find(key) is None:
            return 0
        self.data.ends[key] = end
        return 1

    def _expire(self, key: bytes, seconds: bytes, *_: bytes) -> Reply:
        return self._end(key, self.clock() + float(seconds))

    def _pexpire(self, key: bytes, milliseconds: bytes, *_: bytes) -> Reply:
        return self._end(key, self.clock() + float(milliseconds) / 1000)

    def _persist(self, key: bytes) -> Reply:
        return int(self.data.ends.pop(key, None) is not None)

    def _pttl(self, key: bytes) -> Reply:
        if self.find(key) is None:
            return -2
        end = self.data.ends.get(key)
        return -1 if end is None else int((end - self.clock()) * 1000)

    def _ttl(self, key: bytes) -> Reply:
        left = self._pttl(key)
        return left if left < 0 else left // 1000

    def _get(self, key: bytes) -> Reply:
        return self.find(key)

    def _mget(self, *keys: bytes) -> Reply:
        return [self.find(key) for key in keys]

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Reply:
        words = [word.upper() for word in options]
        old = self.find(key)
        if (b"NX" in words and old is not None) or (b"XX" in words and old is None):
            return None
        if b"KEEPTTL" not in words:
            self.data.ends.pop(key, None)
        self.data.values[key] = value
        for unit, scale in ((b"EX", 1.0), (b"PX", 0.001)):
            if unit in words:
                self._end(key, self.clock() + float(options[words.index(unit) + 1]) * scale)
        return old if b"GET" in words else OK

    def _incr(self, key: bytes) -> Reply:
        return self._incrby(key, b"1")

    def _incrby(self, key: bytes, by: bytes) -> Reply:
        value = int(self.find(key) or b"0") + int(by)
        self.data.values[key] = b"%d" % value
        return value

    def _getrange(self, key: bytes, start: bytes, end: bytes) -> Reply:
        value = self.find(key) or b""
        first, last = int(start), int(end)
        first = max(0, first + len(value)) if first < 0 else first
        last = last + len(value) if last < 0 else last
        return value[first : last + 1]

    def _setrange(self, key: bytes, offset: bytes, part: bytes) -> Reply:
        value = (self.find(key) or b"").ljust(int(offset), b"\0")
        self.data.values[key] = value[: int(offset)] + part + value[int(offset) + len(part) :]
        return len(self.data.values[key])

    def _strlen(self, key: bytes) -> Reply:
        return len(self.find(key) or b"")

    def _append(self, key: bytes, part: bytes) -> Reply:
        self.data.values[key] = (self.find(key) or b"") + part
        return len(self.data.values[key])

    def _rename(self, key: bytes, new: bytes) -> Reply:
        value = self.find(key)
        if value is None:
            raise Failure("ERR no such key")
        end = self.data.ends.get(key)
        self.drop(key)
        self.drop(new)
        self.data.values[new] = value
        if end is not None:
            self.data.ends[new] = end
        return OK

    # hashes

    def _hset(self, key: bytes, *pairs: bytes) -> Reply:
        found = self.made(key, dict)
        new = sum(field not in found for field in pairs[::2])
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return new

    def _hsetnx(self, key: bytes, field: bytes, value: bytes) -> Reply:
        found = self.made(key, dict)
        if field in found:
            return 0
        found[field] = value
        return 1

    def _hget(self, key: bytes, field: bytes) -> Reply:
        return (self.find(key) or {}).get(field)

    def _hmget(self, key: bytes, *fields: bytes) -> Reply:
        found = self.find(key) or {}
        return [found.get(field) for field in fields]

    def _hgetall(self, key: bytes) -> Reply:
        return [each for pair in (self.find(key) or {}).items() for each in pair]

    def _hkeys(self, key: bytes) -> Reply:
        return list(self.find(key) or {})

    def _hvals(self, key: bytes) -> Reply:
        return list((self.find(key) or {}).values())

    def _hlen(self, key: bytes) -> Reply:
        return len(self.find(key) or {})

    def _hexists(self, key: bytes, field: bytes) -> Reply:
        return int(field in (self.find(key) or {}))

    def _hdel(self, key: bytes, *fields: bytes) -> Reply:
        found = self.find(key) or {}
        gone = sum(found.pop(field, None) is not None for field in fields)
        self._tidy(key)
        return gone

    def _hincrby(self, key: bytes, field: bytes, by: bytes) -> Reply:
        found = self.made(key, dict)
        value = int(found.get(field, b"0")) + int(by)
        found[field] = b"%d" % value
        return value

    # lists

    def _rpush(self, key: bytes, *values: bytes) -> Reply:
        found = self.made(key, list)
        found.extend(values)
        return len(found)

    def _llen(self, key: bytes) -> Reply:
        return len(self.find(key) or [])

    def _lindex(self, key: bytes, at: bytes) -> Reply:
        found = self.find(key) or []
        return found[int(at)] if -len(found) <= int(at) < len(found) else None

    def _lset(self, key: bytes, at: bytes, value: bytes) -> Reply:
        found = self.find(key)
        if found is None:
            raise Failure("ERR no such key")
        found[int(at)] = value
        return OK

    def _lrange(self, key: bytes, start: bytes, stop: bytes) -> Reply:
        found = self.find(key) or []
        first, last = int(start), int(stop)
        first = max(0, first + len(found)) if first < 0 else first
        last = last + len(found) if last < 0 else last
        return found[first : last + 1]

    def _ltrim(self, key: bytes, start: bytes, stop: bytes) -> Reply:
        kept = self._lrange(key, start, stop)
        if self.find(key) is not None:
            self.data.values[key] = kept
            self._tidy(key)
        return OK

    # sets

    def _sadd(self, key: bytes, *members: bytes) -> Reply:
        found = self.made(key, dict)
        new = sum(member not in found for member in members)
        found.update(dict.fromkeys(members))
        return new

    def _srem(self, key: bytes, *members: bytes) -> Reply:
        found = self.find(key) or {}
        gone = 0
        for member in members:
            if member in found:
                del found[member]
                gone += 1
        self._tidy(key)
        return gone

    def _smembers(self, key: bytes) -> Reply:
        return list(self.find(key) or {})

    def _sismember(self, key: bytes, member: bytes) -> Reply:
        return int(member in (self.find(key) or {}))

    def _scard(self, key: bytes) -> Reply:
        return len(self.find(key) or {})

    def _spop(self, key: bytes) -> Reply:
        found = self.find(key)
        if not found:
            return None
        member = next(iter(found))
        del found[member]
        self._tidy(key)
        return member

    # sorted sets

    def _zadd(self, key: bytes, *words: bytes) -> Reply:
        found = self.made(key, dict)
        pairs = list(words)
        while pairs and pairs[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH"):
            pairs.pop(0)
        new = 0
        for score, member in zip(pairs[::2], pairs[1::2], strict=True):
            new += member not in found
            found[member] = float(score)
        return new

    def _zrem(self, key: bytes, *members: bytes) -> Reply:
        return self._srem(key, *members)

    def _zscore(self, key: bytes, member: bytes) -> Reply:
        score = (self.find(key) or {}).get(member)
        return None if score is None else b"%.17g" % score

    def _zcard(self, key: bytes) -> Reply:
        return len(self.find(key) or {})

    def _scored(self, key: bytes, low: bytes, high: bytes) -> list[tuple[float, bytes]]:
        least, below = _limit(low)
        most, above = _limit(high)
        pairs = sorted((score, member) for member, score in (self.find(key) or {}).items())
        return [
            (score, member)
            for score, member in pairs
            if (least < score or (score == least and not below))
            and (score < most or (score == most and not above))
        ]

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Reply:
        found = self._scored(key, low, high)
        words = [word.upper() for word in options]
        if b"LIMIT" in words:
            at = words.index(b"LIMIT")
            start, count = int(options[at + 1]), int(options[at + 2])
            found = found[start:] if count < 0 else found[start : start + count]
        if b"WITHSCORES" in words:
            return [each for score, member in found for each in (member, b"%.17g" % score)]
        return [member for _, member in found]

    def _zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> Reply:
        return self._srem(key, *[member for _, member in self._scored(key, low, high)])

    # streams; ids are "number-number"

    def _xadd(self, key: bytes, id: bytes, *pairs: bytes) -> Reply:
        self.made(key, list).append([id, list(pairs)])
        return id

    def _xlen(self, key: bytes) -> Reply:
        return len(self.find(key) or [])

    def _xdel(self, key: bytes, *ids: bytes) -> Reply:
        found = self.find(key)
        if found is None:
            return 0
        before = len(found)
        found[:] = [entry for entry in found if entry[0] not in ids]
        return before - len(found)

    def _xrange(self, key: bytes, start: bytes, end: bytes, *options: bytes) -> Reply:
        low = (0, 0) if start == b"-" else _entry_id(start, 0)
        high = (1 << 62, 0) if end == b"+" else _entry_id(end, 1 << 62)
        found = [entry for entry in self.find(key) or [] if low <= _entry_id(entry[0], 0) <= high]
        return found[: int(options[1])] if options else found

    def _xrevrange(self, key: bytes, end: bytes, start: bytes, *options: bytes) -> Reply:
        found = self._xrange(key, start, end)[::-1]
        return found[: int(options[1])] if options else found

    # pub/sub

    def _publish(self, channel: bytes, message: bytes) -> Reply:
        heard = 0
        for wire in list(self.wires):
            if channel in wire.channels:
                heard += 1
                wire.answer([b"message", channel, message])
        return heard

    def _pubsub(self, how: bytes, *channels: bytes) -> Reply:
        counts = [(each, sum(each in wire.channels for wire in self.wires)) for each in channels]
        return [each for pair in counts for each in pair]

    def _subscribe(self, wire: "Wire", *channels: bytes) -> Reply:
        for channel in channels:
            wire.channels.add(channel)
            wire.answer([b"subscribe", channel, len(wire.channels)])
        return _NOTHING

    def _unsubscribe(self, wire: "Wire", *channels: bytes) -> Reply:
        for channel in channels:
            wire.channels.discard(channel)
            wire.answer([b"unsubscribe", channel, len(wire.channels)])
        return _NOTHING


_NOTHING: Any = object()


def _limit(text: bytes) -> tuple[float, bool]:
    """A score's limit, and whether the limit itself is left out."""
    out = text.startswith(b"(")
    return float(text.lstrip(b"(")), out


def _entry_id(text: bytes, second: int) -> tuple[int, int]:
    first, dash, rest = text.partition(b"-")
    return int(first), int(rest) if dash else second


def resp(reply: Reply) -> bytes:
    """RESP 2 (Redis's protocol specification)."""
    if type(reply) is bytes:
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Failure):
        return b"-%b\r\n" % str(reply).encode().replace(b"\r\n", b" ").replace(b"\n", b" ")
    if isinstance(reply, Status):
        return b"+%b\r\n" % bytes(reply)
    if isinstance(reply, bool | int):
        return b":%d\r\n" % reply
    return b"*%d\r\n%b" % (len(reply), b"".join(map(resp, reply)))


class Wire(asyncio.Transport):
    """One connection: what a `Link` writes comes to the server, and its replies to the link, in order."""

    def __init__(self, server: Server, link: Link, owner: Process | None) -> None:
        super().__init__()
        self._server, self._link, self._owner = server, link, owner
        self._reader = hiredis.Reader()
        self._waiting: list[Sequence[bytes]] = []
        self._loop = cast(VirtualLoop, asyncio.get_running_loop())
        self._there = self._back = 0.0  # when the last bytes of each way arrive
        self.channels: set[bytes] = set()
        self.open = True
        self.deaf = False
        self.late = 0.0  # seconds that what is sent to the server takes longer: its packets were lost
        server.wires.append(self)

    # --- the link's side

    def write(self, data: Any) -> None:
        if self.open and self._owner not in self._server.cut_off:
            self._there = max(self._there + TICK, self._loop.time() + self._server.latency() + self.late)
            self._loop.call_at(self._there, self._arrived, bytes(data), context=_NOBODY)

    def abort(self) -> None:
        self._leave()

    close = abort

    def is_closing(self) -> bool:
        return not self.open

    # --- the server's side

    def _arrived(self, data: bytes) -> None:
        if not self.open or self._owner in self._server.cut_off:
            return
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._waiting.append(words)
        self.work_off()

    def work_off(self) -> None:
        server = self._server
        while self._waiting and self.open and server.up and not server.hung:
            words = self._waiting.pop(0)
            try:
                reply = server.execute(words, self)
            except Failure as failure:
                reply = failure
            except Exception as error:
                self._loop.fail(error)  # the simulation's own
                raise
            if reply is not _NOTHING:
                self.answer(reply)

    def answer(self, reply: Reply) -> None:
        if self.deaf or not self.open:
            return
        self._back = max(self._back + TICK, self._loop.time() + self._server.latency())
        context = self._owner.context if self._owner is not None else None
        self._loop.call_at(self._back, self._give, resp(reply), context=context)

    def _give(self, data: bytes) -> None:
        if self.open and self._owner not in self._server.cut_off:
            self._link.data_received(data)

    def reset(self) -> None:
        """The link learns of it, unless its node is cut off."""
        if self.open:
            self._leave()
            context = self._owner.context if self._owner is not None else None
            if self._owner not in self._server.cut_off:
                self._loop.call_soon(self._link.connection_lost, ConnectionResetError(), context=context)

    def _leave(self) -> None:
        self.open = False
        self.channels.clear()
        if self in self._server.wires:
            self._server.wires.remove(self)


#: What the server does is nobody's process: a frozen node's commands, once sent, are carried out.
_NOBODY = contextvars.Context()


class SimulatedEndpoint(RedisEndpoint):
    """The way to a `Server` in place of an address."""

    def __init__(self, server: Server, timeout: float) -> None:
        super().__init__("redis://127.0.0.1:6379/0", timeout)
        self._server = server

    async def _open(self, address: tuple[str, int]) -> Link:
        await asyncio.sleep(self._server.latency())
        owner = current_process()
        if owner in self._server.cut_off:
            await asyncio.Event().wait()  # silence, until the limit of whoever connects
        if not self._server.up:
            raise ConnectionRefusedError
        link = Link(self._timeout)
        link.connection_made(Wire(self._server, link, owner))
        return link

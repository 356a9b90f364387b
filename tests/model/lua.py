"""Parley's own Lua scripts, run by a real Lua 5.1 with Redis's libraries (Redis's "Lua API" reference)."""

import json
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from lupa import lua51

#: What a command answers: as Redis's own types, before RESP.
Reply = Any
Call = Callable[[Sequence[bytes]], Reply]


class Failure(Exception):
    """An error reply."""


class Status(bytes):
    """A status reply (`+OK`)."""


#: Replies that Lua has as they are.
_PLAIN = (bytes, int)


class Engine:
    """One interpreter for all schedules: scripts keep nothing between two calls."""

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._call: Call = _nobody
        names = self._lua.globals()
        names[b"redis"] = self._lua.table_from(
            {
                b"call": self._from_script,
                b"pcall": self._from_script_protected,
                b"sha1hex": _sha1hex,
                b"status_reply": lambda text: self._lua.table_from({b"ok": text}),
                b"error_reply": lambda text: self._lua.table_from({b"err": text}),
            }
        )
        names[b"cmsgpack"] = self._lua.table_from(
            {
                b"pack": lambda value: msgspec.msgpack.encode(self._plain(value)),
                b"unpack": lambda data: self._table(msgspec.msgpack.decode(data)),
            }
        )
        names[b"cjson"] = self._lua.table_from(
            {
                b"encode": lambda value: json.dumps(
                    _text(self._plain(value)), separators=(",", ":")
                ).encode(),
                b"decode": lambda data: self._table(_octets(json.loads(data))),
            }
        )
        names[b"struct"] = self._lua.table_from({b"pack": _pack, b"unpack": _unpack})
        self._type = lua51.lua_type

    @lru_cache(maxsize=256)  # noqa: B019 - there is one engine
    def compiled(self, source: bytes) -> Any:
        return self._lua.eval(b"function(KEYS, ARGV)\n" + source + b"\nend")

    def run(self, source: bytes, keys: Sequence[bytes], arguments: Sequence[bytes], call: Call) -> Reply:
        before, self._call = self._call, call
        try:
            function = self.compiled(source)
            return self._reply(function(self._lua.table_from(keys), self._lua.table_from(arguments)))
        except lua51.LuaError as error:
            raise Failure(f"ERR {error}") from error
        finally:
            self._call = before

    # --- a script's commands

    def _from_script(self, *words: Any) -> Any:
        reply = self._call([word if type(word) is bytes else _word(word) for word in words])
        return reply if type(reply) in _PLAIN else self._value(reply)

    def _from_script_protected(self, *words: Any) -> Any:
        try:
            return self._from_script(*words)
        except Failure as failure:
            return self._lua.table_from({b"err": str(failure).encode()})

    def _value(self, reply: Reply) -> Any:
        """Redis's reply as a Lua value."""
        if reply is None:
            return False
        if isinstance(reply, Status):
            return self._lua.table_from({b"ok": bytes(reply)})
        if isinstance(reply, list | tuple):
            return self._lua.table_from(
                [each if type(each) in _PLAIN else self._value(each) for each in reply]
            )
        return reply

    def _reply(self, value: Any) -> Reply:
        """A script's result as a reply: numbers lose their fraction, a table ends at its first nil."""
        if type(value) is bytes:
            return value
        if value is None or value is False:
            return None
        if value is True:
            return 1
        if isinstance(value, int | float):
            return int(value)
        if self._type(value) != "table":
            return bytes(value)
        if (error := value[b"err"]) is not None:
            raise Failure(error.decode())
        if (ok := value[b"ok"]) is not None:
            return Status(ok)
        found, at = [], 1
        while (each := value[at]) is not None:
            found.append(self._reply(each))
            at += 1
        return found

    # --- cmsgpack and cjson

    def _plain(self, value: Any) -> Any:
        if self._type(value) != "table":
            return value
        items = dict(value.items())
        if set(items) == set(range(1, len(items) + 1)):
            return [self._plain(items[at]) for at in range(1, len(items) + 1)]
        return {key: self._plain(each) for key, each in items.items()}

    def _table(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._lua.table_from({key: self._table(each) for key, each in value.items()})
        if isinstance(value, list):
            return self._lua.table_from([self._table(each) for each in value])
        return value


def _nobody(words: Sequence[bytes]) -> Reply:
    raise Failure("ERR no script runs")


def _word(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool) or value is None:
        raise Failure("ERR Lua redis lib command arguments must be strings or integers")
    return b"%d" % value if value == int(value) else b"%.17g" % value


def _sha1hex(text: bytes) -> bytes:
    import hashlib

    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _format(form: bytes) -> str:
    """lua-struct's `I8` and its like as Python's `struct` has them."""
    text = form.decode()
    for theirs, ours in (("I8", "Q"), ("I4", "I"), ("I2", "H"), ("i8", "q"), ("i4", "i")):
        text = text.replace(theirs, ours)
    return text


def _pack(form: bytes, *values: Any) -> bytes:
    return struct.pack(_format(form), *map(int, values))


def _unpack(form: bytes, data: bytes, at: int = 1) -> Any:
    found = struct.unpack_from(_format(form), data, int(at) - 1)
    return (*found, at + struct.calcsize(_format(form)))


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    return [_text(each) for each in value] if isinstance(value, list) else value


def _octets(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return {_octets(key): _octets(each) for key, each in value.items()}
    return [_octets(each) for each in value] if isinstance(value, list) else value

"""What a message may ask of people, and whether an answer is one. Knows no message and no caller.

Schemas are a worker's, and payloads anybody's: both are checked off the event loop, within bounds, and
nothing is fetched for them.
"""

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from events.clock import rfc3339
from events.errors import ValidationFailed
from events.failures import MESSAGE_FULL
from events.schema import Interrupt
from events.storable import storable
from storage.interrupts import has_room

#: Interrupts of one message, all its waits together.
MOST_OF_MESSAGE: Final = 100
#: Of a `response_schema`: forms that people fill in are much smaller.
SCHEMA_BYTES, SCHEMA_DEPTH = 16 * 1024, 32
#: Of all that one wait asks.
ASKED_BYTES: Final = 64 * 1024
#: Of an answer's payload: what a tool of the page gave is told to a model, too.
ANSWER_BYTES, ANSWER_DEPTH = 64 * 1024, 64
#: Keywords that a schema may not have: with them another's text is a pattern that may run for hours, or
#: something outside of the schema is looked for.
FORBIDDEN = ("patternProperties", "$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$vocabulary")

#: Loaded with the first schema: it takes a tenth of a second.
_LIBRARY = "events.answerschemas"


async def asked(given: Sequence[Interrupt], known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Interrupts as they are stored; `known` are those that the message has. Raises ValidationFailed."""
    if len(known) + len(given) > MOST_OF_MESSAGE:
        raise ValidationFailed(f"a message asks at most {MOST_OF_MESSAGE} times", field="interrupts")
    if len(msgspec.json.encode(given)) > ASKED_BYTES:
        raise ValidationFailed(f"at most {ASKED_BYTES} bytes together", field="interrupts")
    _check_room(known, given, "interrupts")
    taken, stored = {each["id"] for each in known}, []
    for place, each in enumerate(given):
        here = f"interrupts[{place}]"
        if each.id in taken:
            raise ValidationFailed("another one has it", field=f"{here}.id")
        taken.add(each.id)
        told = storable(msgspec.to_builtins(each))
        if each.expires_at is not UNSET:
            told["expires_at"] = _time(each.expires_at, f"{here}.expires_at")
        if each.response_schema is not UNSET:
            _check_schema(each.response_schema, f"{here}.response_schema")
            await _off_loop("check_schema", each.response_schema, f"{here}.response_schema")
        stored.append(told)
    return stored


async def check_answer(payload: Any, schema: dict[str, Any] | None, known: Sequence[dict[str, Any]]) -> None:
    """`known` are the interrupts of its message. Raises ValidationFailed."""
    if len(msgspec.json.encode(payload)) > ANSWER_BYTES:
        raise ValidationFailed(f"at most {ANSWER_BYTES} bytes", field="payload")
    if deeper_than(ANSWER_DEPTH, payload):
        raise ValidationFailed(f"at most {ANSWER_DEPTH} levels", field="payload")
    _check_room(known, payload, "payload")
    if schema is not None:
        await _off_loop("check_payload", payload, schema)


def _check_room(known: Sequence[dict[str, Any]], more: Any, field: str) -> None:
    if not has_room(known, more):
        raise ValidationFailed(MESSAGE_FULL, field=field)


async def _off_loop(name: str, *given: Any) -> None:
    def work() -> None:
        getattr(importlib.import_module(_LIBRARY), name)(*given)

    await asyncio.to_thread(work)


def _time(text: str, field: str) -> str:
    try:
        time = msgspec.convert(text, datetime)
        return rfc3339(time.replace(tzinfo=time.tzinfo or UTC))
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise ValidationFailed("an RFC 3339 time", field=field) from error


def _check_schema(schema: dict[str, Any], field: str) -> None:
    if len(msgspec.json.encode(schema)) > SCHEMA_BYTES:
        raise ValidationFailed(f"at most {SCHEMA_BYTES} bytes", field=field)
    if deeper_than(SCHEMA_DEPTH, schema):
        raise ValidationFailed(f"at most {SCHEMA_DEPTH} levels", field=field)
    for each in _objects(schema):
        for name in FORBIDDEN:
            if name in each:
                raise ValidationFailed(f"{name} is not supported", field=field)
        target = each.get("$ref")
        if isinstance(target, str) and not _is_within(schema, target):
            raise ValidationFailed("$ref must point into the schema itself", field=field)


def deeper_than(most: int, value: Any) -> bool:
    level = [value]
    for _ in range(most):
        level = [inner for each in level for inner in _within(each)]
        if not level:
            return False
    return True


def _within(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
        left.extend(_within(each))


def _is_within(schema: Any, pointer: str) -> bool:
    """Whether a reference is a JSON pointer to something that is there."""
    if pointer != "#" and not pointer.startswith("#/"):
        return False
    found = schema
    for step in pointer[2:].split("/") if len(pointer) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return False
    return True

"""JSON Schemas of answers, by the library `jsonschema`: within a number of steps, without patterns.

A pattern of one person against a text of another may run for hours, which nothing can stop: `pattern` is for
the page's form, and the agent, as `format` is.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from events.errors import ValidationFailed

#: Keywords that are looked at for one answer: some ten microseconds each.
STEPS = 10_000
#: The same for a schema of 16 KiB: it is checked by another one, of many keywords.
SCHEMA_STEPS = 100_000
#: What a fault counts as: its sentence has all of what was given.
FAULT = 100
#: Schemas within one that are looked at for a step, where they say nothing.
EMPTY = 3
#: Keywords of a schema for a step, where they are looked for in vain.
UNKNOWN = 64
#: Of the library's sentence, which names what it found.
TOLD = 300
#: Not looked at. The last two are slow and rare.
_UNSEEN = ("pattern", "unevaluatedItems", "unevaluatedProperties")

_Check = Callable[[Any, Any, Any, Any], Iterator[Any] | None]
_Cost = Callable[[Any, Any], int]


class TooDear(Exception):
    """More steps than an answer is worth."""


def check_schema(schema: dict[str, Any], field: str) -> None:
    """Raises ValidationFailed."""
    try:
        found = next(_counting(Draft202012Validator.META_SCHEMA, SCHEMA_STEPS).iter_errors(schema), None)
    except (TooDear, RecursionError) as error:
        raise ValidationFailed("takes too long to be checked", field=field, joint=" ") from error
    if isinstance(found, ValidationError):
        raise ValidationFailed(f"is no JSON Schema: {found.message[:TOLD]}", field=field, joint=" ")


def check_payload(payload: Any, schema: dict[str, Any]) -> None:
    """Raises ValidationFailed."""
    try:
        found = next(_counting(schema, STEPS).iter_errors(payload), None)
    except (TooDear, RecursionError) as error:
        raise ValidationFailed("takes too long to be checked", field="payload", joint=" ") from error
    except (
        Exception
    ) as error:  # what a $ref leads to may be no schema, and a number too large for the library
        raise ValidationFailed("cannot be checked by its schema", field="payload", joint=" ") from error
    if isinstance(found, ValidationError):
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in found.absolute_path)
        raise ValidationFailed(found.message[:TOLD], field=f"payload{path[:TOLD]}")


def _counting(schema: Any, steps: int) -> Draft202012Validator:
    left = [steps]

    def spend(some: int) -> None:
        left[0] -= some
        if left[0] < 0:
            raise TooDear

    def evolve(validator: Any, **changes: Any) -> Any:
        # The library's own would go on with a validator that counts nothing where a schema has `$schema`.
        within = changes.get("schema")
        spend(len(within) // UNKNOWN if isinstance(within, dict) else 0)
        return attrs.evolve(validator, **changes)

    def counted(name: str, check: _Check) -> _Check:
        cost = _COSTS.get(name, _one)

        def counting(validator: Any, said: Any, instance: Any, of: Any) -> Iterator[Any]:
            spend(cost(said, instance))
            for error in check(validator, said, instance, of) or ():
                left[0] -= FAULT
                yield error

        return counting

    checks = {name: counted(name, check) for name, check in Draft202012Validator.VALIDATORS.items()}
    made = extend(Draft202012Validator, {**checks, **dict.fromkeys(_UNSEEN, _unseen)})
    made.evolve = evolve
    validator: Draft202012Validator = made(schema, registry=Registry())
    return validator


def _unseen(validator: Any, said: Any, instance: Any, of: Any) -> Iterator[Any]:
    return iter(())


# --- keywords whose work grows with what they are given, and how


def _one(said: Any, instance: Any) -> int:
    return 1


def _of_each(said: Any, instance: Any) -> int:
    """A schema for each of what was given."""
    many = len(instance) if isinstance(instance, list | dict) else 1
    return 1 + many // EMPTY + (FAULT if said is False else 0)


def _of_all(said: Any, instance: Any) -> int:
    """Several schemas. `false` fails with a sentence, heard by nobody where another one fits."""
    schemas: Iterable[Any] = said.values() if isinstance(said, dict) else said
    return 1 + len(said) // EMPTY + FAULT * sum(1 for each in schemas if each is False)


def _of_one(said: Any, instance: Any) -> int:
    return FAULT if said is False else 1


def _in_contains(said: Any, instance: Any) -> int:
    return _of_one(said, instance) + (len(instance) if isinstance(instance, list) else 0)


def _values(said: Any, instance: Any) -> int:
    """What is compared with what was given."""
    return size_of(said)


def _pairs(said: Any, instance: Any) -> int:
    """Texts and numbers are sorted, all else is compared with each other."""
    if not isinstance(instance, list):
        return 1
    kinds = {type(each) for each in instance}
    return size_of(instance) if kinds == {str} or kinds <= {int, float} else len(instance) * size_of(instance)


def size_of(value: Any) -> int:
    """Values in it, with itself."""
    count, left = 0, [value]
    while left:
        each = left.pop()
        count += 1
        if isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
    return count


_COSTS: dict[str, _Cost] = {
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _of_each),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems", "properties", "dependentSchemas"), _of_all),
    **dict.fromkeys(("not", "if"), _of_one),
    **dict.fromkeys(("const", "enum", "required", "dependentRequired"), _values),
    "contains": _in_contains,
    "uniqueItems": _pairs,
}

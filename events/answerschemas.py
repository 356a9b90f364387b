"""JSON Schemas of answers, by the library `jsonschema`: within a number of steps, without patterns.

A pattern of one person against a text of another may run for hours, which nothing can stop: `pattern` is for
the page's form, and the agent, as `format` is.
"""

from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from events.errors import ValidationFailed

#: Keywords that are looked at for one answer: some ten microseconds each.
STEPS = 10_000
#: What a fault counts as: its sentence has all of what was given.
FAULT = 100
#: Of the library's sentence, which names what it found.
TOLD = 300
#: Not looked at. The last two are slow and rare.
_UNSEEN = ("pattern", "unevaluatedItems", "unevaluatedProperties")
#: Keywords whose work grows with what they are given, and how.
_COSTS: dict[str, Callable[[Any, Any], int]] = {
    "uniqueItems": lambda said, instance: len(instance) ** 2 if isinstance(instance, list) else 1,
    "enum": lambda said, instance: len(said) if isinstance(said, list) else 1,
    "required": lambda said, instance: len(said) if isinstance(said, list) else 1,
    "contains": lambda said, instance: len(instance) if isinstance(instance, list) else 1,
}

_Check = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


class TooDear(Exception):
    """More steps than an answer is worth."""


def check_schema(schema: dict[str, Any], field: str) -> None:
    """Raises ValidationFailed."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        problem = f"is no JSON Schema: {error.message[:TOLD]}"
        raise ValidationFailed(problem, field=field, joint=" ") from error
    except RecursionError as error:
        raise ValidationFailed("is too deep", field=field, joint=" ") from error


def check_payload(payload: Any, schema: dict[str, Any]) -> None:
    """Raises ValidationFailed."""
    try:
        found = next(_counting(schema).iter_errors(payload), None)
    except (TooDear, RecursionError) as error:
        raise ValidationFailed("takes too long to be checked", field="payload", joint=" ") from error
    if isinstance(found, ValidationError):
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in found.absolute_path)
        raise ValidationFailed(found.message[:TOLD], field=f"payload{path[:TOLD]}")


def _counting(schema: dict[str, Any]) -> Draft202012Validator:
    left = [STEPS]

    def counted(name: str, check: _Check) -> _Check:
        cost = _COSTS.get(name)

        def counting(validator: Any, said: Any, instance: Any, of: Any) -> Iterator[Any]:
            left[0] -= 1 if cost is None else cost(said, instance)
            if left[0] < 0:
                raise TooDear
            for error in check(validator, said, instance, of) or ():
                left[0] -= FAULT
                yield error

        return counting

    checks = {name: counted(name, check) for name, check in Draft202012Validator.VALIDATORS.items()}
    made = extend(Draft202012Validator, {**checks, **dict.fromkeys(_UNSEEN, _unseen)})
    validator: Draft202012Validator = made(schema, registry=Registry())
    return validator


def _unseen(validator: Any, said: Any, instance: Any, of: Any) -> Iterator[Any]:
    return iter(())

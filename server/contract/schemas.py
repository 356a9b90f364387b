"""msgspec structs as JSON Schemas. OpenAPI 3.1 and AsyncAPI 3 take them as they are."""

from collections.abc import Iterable
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from events import payloads, schema
from events.catalog import CATALOG
from events.errors import ChatError
from server.errors import TABLE

Json = dict[str, Any]
REF = "#/components/schemas/"


def components(more: Iterable[type[Struct]] = ()) -> Json:
    """Every struct of the contract by its name, and those it is made of."""
    structs = [command.schema for command in CATALOG.values()]
    structs += [found for event in payloads.EVENTS.values() for found in event.schemas]
    structs += [*(command.reply for command in CATALOG.values()), payloads.ErrorBody, payloads.Welcome, *more]
    _, found = msgspec.json.schema_components(dict.fromkeys(structs), ref_template=REF + "{name}")
    return {name: _clean(found[name]) for name in sorted(found)}


def ref(struct: type[Struct]) -> Json:
    return {"$ref": REF + struct.__name__}


def any_of(structs: Iterable[type[Struct]]) -> Json:
    refs = [ref(struct) for struct in structs]
    return refs[0] if len(refs) == 1 else {"anyOf": refs}


def without(struct: type[Struct], *names: str) -> Json:
    """A struct's schema, less some fields that travel elsewhere (in a path, say). References stay."""
    _, found = msgspec.json.schema_components([struct], ref_template=REF + "{name}")
    own: Json = _clean(found[struct.__name__])
    own["properties"] = {k: v for k, v in own["properties"].items() if k not in names}
    required = [name for name in own.get("required", ()) if name not in names]
    own.pop("required", None)
    own.pop("title", None)
    return own | ({"required": required} if required else {})


def _clean(value: Any) -> Any:
    """Python's `\\Z` is no JavaScript; a docstring becomes one line."""
    if isinstance(value, dict):
        cleaned = {key: _clean(each) for key, each in value.items()}
        if isinstance(cleaned.get("pattern"), str):
            cleaned["pattern"] = cleaned["pattern"].replace("\\Z", "$")
        if isinstance(cleaned.get("description"), str):
            cleaned["description"] = " ".join(cleaned["description"].split())
        return cleaned
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value


def doc(struct: type[Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


def first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") + "."


def fields(struct: type[Struct], *leave_out: str) -> list[tuple[str, bool]]:
    """(name, needed) of each field, in order."""
    get_type_hints(struct)  # a field of a type that does not exist is told here, not in a document
    return [
        (field.encode_name, field.required)
        for field in msgspec.structs.fields(struct)
        if field.encode_name not in leave_out
    ]


def error_codes() -> dict[str, type[ChatError]]:
    """Code -> its error, in the order of `server.errors.TABLE`."""
    found: dict[str, type[ChatError]] = {}
    waiting = [ChatError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.code, kind)
        waiting += kind.__subclasses__()
    return {code: found[code] for code in TABLE}


__all__ = ["Json", "any_of", "components", "doc", "error_codes", "fields", "first_sentence", "ref", "schema"]

"""`clients/python/parley_client/wire.py`: the contract's structs as TypedDicts, from the JSON Schemas."""

import json

from server.contract.schemas import REF, Json, components, error_codes, first_sentence

_HEAD = '''\
"""Parley's payloads, replies and events as the wire has them. Generated: `make docs`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''


def typed_dicts() -> str:
    parts = [_HEAD]
    for name, schema in components().items():
        if name != "ErrorBody":
            parts.append(_class(name, schema) + "\n")
    codes = "".join(f'    "{code}",\n' for code in error_codes())
    parts.append(f"#: Every code of a `Problem` that the server tells.\nErrorCode = Literal[\n{codes}]\n")
    return "\n\n".join(parts)


def _class(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    text = first_sentence(str(schema.get("description") or name))
    lines = [f"class {name}(TypedDict):", f'    """{text}"""', ""]
    for field, each in schema.get("properties", {}).items():
        kind = _type(each)
        lines.append(f"    {field}: {kind if field in required else f'NotRequired[{kind}]'}")
    return "\n".join(lines).rstrip()


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REF)
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        values = sorted((each for each in schema["enum"] if each is not None), key=str)
        kind = f"Literal[{', '.join(json.dumps(each) for each in values)}]"
        return f"{kind} | None" if None in schema["enum"] else kind
    match schema.get("type"):
        case "object":
            inner = schema.get("additionalProperties")
            return f"dict[str, {_type(inner) if isinstance(inner, dict) and inner else 'Any'}]"
        case "array":
            return f"list[{_type(schema['items']) if schema.get('items') else 'Any'}]"
        case "integer":
            return "int"
        case "number":
            return "float"
        case "string":
            return "str"
        case "boolean":
            return "bool"
        case "null":
            return "None"
        case _:
            return "Any"

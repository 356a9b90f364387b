"""OpenAPI 3.1 for the REST door, made from `operations.py`."""

import re

import msgspec
from msgspec import Struct

from server.contract.operations import OPERATIONS, TAGS, RestCall
from server.contract.schemas import Json, components, doc, ref, without
from server.errors import TABLE

#: Statuses that any call with a token may be answered by.
ALWAYS = (401, 403, 413, 422, 429, 500, 503)


def document(version: str, url: str | None = None) -> Json:
    """`url` is where the service is reached; without it, where the document was found."""
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    used = {operation.tag for operation in OPERATIONS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Parley",
            "version": version,
            "summary": "Real-time chat over Socket.IO, raw WebSocket, server-sent events and REST",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": url or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "responses": {f"Error{status}": _error(status) for status in _statuses()},
            "schemas": components(_structs()),
        },
    }


def _structs() -> list[type[Struct]]:
    found: list[type[Struct]] = []
    for operation in OPERATIONS:
        found += [s for s in (operation.body, operation.query) if s is not None]
        if isinstance(operation.answer, type):
            found.append(operation.answer)
    return found


def _statuses() -> list[int]:
    used = set(ALWAYS).union(*(operation.errors for operation in OPERATIONS))
    return sorted(used)


def _error(status: int) -> Json:
    told = {400: 422}.get(status, status)  # to OpenAI's libraries
    codes = ", ".join(f"`{code}`" for code, outside in TABLE.items() if outside.status == told)
    return {
        "description": codes,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
    }


def _operation(operation: RestCall) -> Json:
    shown: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.body is not None and doc(operation.body):
        shown["description"] = doc(operation.body)
    if operation.public:
        shown["security"] = []
    if operation.upload:
        shown["requestBody"] = _UPLOAD
    elif operation.body is not None:
        needed = [f for f in msgspec.structs.fields(operation.body) if f.required]
        schema = without(operation.body, *operation.leave_out) if operation.leave_out else ref(operation.body)
        shown["requestBody"] = {
            "required": any(f.encode_name not in operation.leave_out for f in needed),
            "content": {"application/json": {"schema": schema}},
        }
    return shown


def _parameters(operation: RestCall) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    if operation.query is not None:
        schema = without(operation.query, *operation.leave_out)
        for name, each in schema["properties"].items():
            found.append({"name": name, "in": "query", "schema": _of_query(each)})
    for name, (place, each) in operation.parameters.items():
        found.append({"name": name, "in": place, "schema": each})
    return found


def _of_query(schema: Json) -> Json:
    """A query parameter is there or not; there is no null."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if "enum" in schema:
        return {**schema, "enum": [each for each in schema["enum"] if each is not None]}
    if not choices:
        return schema
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _responses(operation: RestCall) -> Json:
    answer = operation.answer
    if isinstance(answer, str):
        # An event stream's events are the AsyncAPI document's.
        content: Json = {answer: {"schema": {"type": "string"}} if answer == "text/plain" else {}}
    else:
        content = {"application/json": {"schema": ref(answer) if answer else {"type": "object"}}}
    found: Json = {str(operation.status): {"description": "Done", "content": content}}
    for status, text in operation.also.items():
        kind: Json = {"application/json": {"schema": {"type": "object"}}} if status in (201, 503) else {}
        found[str(status)] = {"description": text, **({"content": kind} if kind else {})}
    for status in sorted({*ALWAYS, *operation.errors}):
        found.setdefault(str(status), {"$ref": f"#/components/responses/Error{status}"})
    found["431"] = {**_error(413), "description": "`PAYLOAD_TOO_LARGE`: URL and headers (RFC 6585, 5)"}
    return dict(sorted(found.items()))


_UPLOAD: Json = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "message": {"type": "string"},
                    "post": {"type": "string", "enum": ["true", "false"], "default": "true"},
                    "reply": {"type": "string", "enum": ["true", "false"], "default": "true"},
                },
            }
        }
    },
}

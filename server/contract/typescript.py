"""`clients/parley-events.d.ts`: the event maps of `socket.io-client`, from the JSON Schemas."""

from events import payloads
from events.catalog import CATALOG
from server.contract.schemas import REF, Json, components, doc, error_codes, first_sentence

_HEAD = """\
// Parley's commands and events for the official Socket.IO client. Generated: `make docs`.
//
//   import { io } from "socket.io-client";
//   import type { ParleySocket } from "./parley-events";
//   const socket: ParleySocket = io(url, { auth: { token } });
import type { Socket } from "socket.io-client";

/** A reply: what the command answers, or why it failed. */
export type Reply<T> = ({ ok: true } & T) | { ok: false; error: Problem };
"""

#: Commands that are mostly sent without asking for a reply.
QUIET = (
    "leave",
    "typing",
    "presence",
    "read",
    "stream_chunk",
    "stream_delta",
    "stream_part",
    "agent_status",
)


def declarations() -> str:
    parts = [_HEAD]
    for name, schema in components().items():
        if name == "ErrorBody":
            continue
        if text := schema.get("description"):
            parts.append(f"/** {text} */")
        parts.append(f"export interface {name} {_type(schema, top=True)}\n")
    codes = "".join(f'\n  | "{code}"' for code in error_codes())
    parts.append(f"/** Every code of a `Problem`. */\nexport type ErrorCode ={codes};\n")
    parts.append(_events())
    parts.append(_commands())
    parts.append(
        "/** The socket of `io(url, { auth: { token } })`. */\n"
        "export type ParleySocket = Socket<ParleyEvents, ParleyCommands>;"
    )
    return "\n".join(parts) + "\n"


def _events() -> str:
    lines = [
        "/** What the server sends: `socket.on(name, payload => …)`. */",
        "export interface ParleyEvents {",
    ]
    for name, event in payloads.EVENTS.items():
        kinds = " | ".join(schema.__name__ for schema in event.schemas)
        ack = ", ack: () => void" if name == "agent_request" else ""
        lines.append(f"  /** {event.summary} {event.kind.capitalize()}. */")
        lines.append(f"  {name}: (payload: {kinds}{ack}) => void;")
    return "\n".join([*lines, "}\n"])


def _commands() -> str:
    lines = [
        "/** What a client sends: `await socket.emitWithAck(name, payload)`. Take `join` in with a callback:",
        " *  what follows its reply may be handled before an `await` goes on. */",
        "export interface ParleyCommands {",
    ]
    for name, command in CATALOG.items():
        schema, reply = command.schema.__name__, command.reply.__name__
        ack = "ack?" if name in QUIET else "ack"
        lines.append(f"  /** {first_sentence(doc(command.schema))} */")
        lines.append(f"  {name}: (payload: {schema}, {ack}: (reply: Reply<{reply}>) => void) => void;")
    return "\n".join([*lines, "}\n"])


def _type(schema: Json, *, top: bool = False) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REF)
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        values = sorted((each for each in schema["enum"] if each is not None), key=str)
        shown = [f'"{value}"' for value in values]
        return " | ".join([*shown, *(["null"] if None in schema["enum"] else [])])
    match schema.get("type"):
        case "object" if "properties" in schema or top:
            return _object(schema)
        case "object":
            inner = schema.get("additionalProperties")
            return f"Record<string, {_type(inner) if isinstance(inner, dict) and inner else 'unknown'}>"
        case "array":
            item = _type(schema["items"]) if schema.get("items") else "unknown"
            return f"({item})[]" if " " in item else f"{item}[]"
        case "integer" | "number":
            return "number"
        case "string" | "boolean" | "null" as plain:
            return str(plain)
        case _:
            return "unknown"


def _object(schema: Json) -> str:
    required = schema.get("required", ())
    if not schema.get("properties"):
        return "{}"
    lines = ["{"]
    for name, each in schema["properties"].items():
        if text := each.get("description"):
            lines.append(f"  /** {text} */")
        lines.append(f"  {name}{'' if name in required else '?'}: {_type(each)};")
    return "\n".join([*lines, "}"])

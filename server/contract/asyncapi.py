"""AsyncAPI 3.0 for the doors that carry events: a channel for each transport."""

from typing import Any

from events import payloads
from events.catalog import CATALOG
from server.contract.schemas import Json, any_of, components, doc, first_sentence, ref
from server.transports.base import Channel
from server.transports.listed import TRANSPORTS

KINDS = {
    "durable": "healed from the database whatever happens",
    "logged": "replayed within the recovery window",
    "volatile": "never replayed",
    "direct": "to one connection, never replayed",
}
CHANNELS = {transport.channel.name: transport.channel for transport in TRANSPORTS}


def document(version: str, host: str = "localhost:8003", root: str = "") -> Json:
    commands = {name: _command(name) for name in CATALOG}
    replies = {f"{name}_reply": _reply(name) for name in CATALOG}
    events = {f"{name}_event": _event(name) for name in payloads.EVENTS}
    welcome = {
        "welcome": {
            "name": "welcome",
            "summary": "What comes first where connecting is joining.",
            "payload": ref(payloads.Welcome),
        }
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley",
            "version": version,
            "license": {"name": "MIT"},
            "description": "Every transport has the same commands and events: a name and one object.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "parley": {
                "host": host,
                **({"pathname": root} if root else {}),
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {
            name: _channel(channel, [*commands, *replies] if channel.commands else [], list(events))
            for name, channel in CHANNELS.items()
        },
        "operations": _operations(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "messages": {**commands, **replies, **events, **welcome},
            "schemas": _undiscriminated(components()),
        },
    }


def _undiscriminated(value: Any) -> Any:
    """Without OpenAPI's `discriminator`, which is no object in AsyncAPI: a part's `type` says the same."""
    if isinstance(value, dict):
        return {key: _undiscriminated(each) for key, each in value.items() if key != "discriminator"}
    if isinstance(value, list):
        return [_undiscriminated(each) for each in value]
    return value


def _command(name: str) -> Json:
    schema = CATALOG[name].schema
    return {"name": name, "summary": first_sentence(doc(schema)), "payload": ref(schema)}


def _reply(name: str) -> Json:
    failed = {
        "type": "object",
        "required": ["ok", "error"],
        "properties": {"ok": {"const": False}, "error": ref(payloads.Problem)},
    }
    done = {
        "allOf": [
            ref(CATALOG[name].reply),
            {"type": "object", "required": ["ok"], "properties": {"ok": {"const": True}}},
        ]
    }
    return {
        "name": f"{name} reply",
        "summary": f"The ack of `{name}`.",
        "payload": {"anyOf": [done, failed]},
    }


def _event(name: str) -> Json:
    event = payloads.EVENTS[name]
    return {
        "name": name,
        "summary": event.summary,
        "description": f"{event.kind.capitalize()}: {KINDS[event.kind]}.",
        "payload": any_of(event.schemas),
        "x-class": event.kind,
    }


def _channel(channel: Channel, inwards: list[str], outwards: list[str]) -> Json:
    names = [*inwards, *outwards, *(["welcome"] if channel.welcomes else [])]
    found: Json = {
        "address": channel.address,
        "description": channel.text,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    if "{session_id}" in channel.address:
        found["parameters"] = {"session_id": {"description": "The session"}}
    return found


def _operations() -> Json:
    """`receive` and `send` are the server's view, as AsyncAPI 3 has it."""
    found: Json = {}
    for door, channel in CHANNELS.items():
        messages = f"#/channels/{door}/messages/"
        if channel.commands:
            for name in CATALOG:
                found[f"{door}_{name}"] = {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{door}"},
                    "summary": first_sentence(doc(CATALOG[name].schema)),
                    "messages": [{"$ref": messages + name}],
                    "reply": {
                        "channel": {"$ref": f"#/channels/{door}"},
                        "messages": [{"$ref": f"{messages}{name}_reply"}],
                    },
                }
        found[f"{door}_events"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{door}"},
            "summary": "What members of a room hear.",
            "messages": [{"$ref": f"{messages}{name}_event"} for name in payloads.EVENTS],
        }
    return found

"""The tables of docs/protocol.md that are the code's own: commands, events, errors, settings, calls."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from events import payloads
from events.bounds import CAPS, RATES, Bounds, Cap
from events.catalog import CATALOG
from server.bounds import CALLS, DOORS, GIVES, bounds_of
from server.config import Settings
from server.contract.operations import OPERATIONS, TAGS
from server.contract.schemas import doc, error_codes, fields
from server.errors import DRAINING_CLOSE, TABLE


def filled(template: str) -> str:
    """The template with each `<!-- table: name -->` line replaced by its table."""
    lines = []
    for line in template.splitlines():
        name = line.removeprefix("<!-- table: ").removesuffix(" -->")
        lines += TABLES[name]() if line.startswith("<!-- table: ") else [line]
    return "\n".join(lines) + "\n"


def _names(struct: type[Struct], *leave_out: str) -> str:
    return ", ".join(f"`{name}`" + ("" if needed else "?") for name, needed in fields(struct, *leave_out))


def _commands() -> list[str]:
    lines = ["| command | payload | reply adds | |", "|---|---|---|---|"]
    for name, command in CATALOG.items():
        payload, reply = _names(command.schema), _names(command.reply)
        lines.append(f"| `{name}` | {payload} | {reply} | {doc(command.schema)} |")
    return lines


def _events() -> list[str]:
    lines = ["| event | class | payload besides `session_id`, `timestamp` | |", "|---|---|---|---|"]
    for name, event in payloads.EVENTS.items():
        for schema in event.schemas:
            kind = event.kind
            if schema in (payloads.SessionActivity, payloads.SessionAdded, payloads.SessionTakenAway):
                kind = "volatile"
            shown = "the message" if schema is payloads.Message else _names(schema, "session_id", "timestamp")
            text = event.text or doc(schema)
            lines.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return lines


def _errors() -> list[str]:
    lines = ["| code | HTTP | raw WebSocket close | retryable | |", "|---|---|---|---|---|"]
    for code, error in error_codes().items():
        outside = TABLE[code]
        close = str(outside.close or "")
        if code == "UNAVAILABLE":
            close += f", draining {DRAINING_CLOSE}"
        yes = "yes" if error.retryable else ""
        lines.append(f"| `{code}` | {outside.status} | {close} | {yes} | {error.message} |")
    return lines


GROUPS = {
    "service": "service_name",
    "database": "database_url",
    "cluster": "redis_url",
    "secrets": "jwt_secret_key",
    "connections": "ws_max_connections",
    "sessions": "session_ttl_hours",
    "recovery": "recovery_window",
    "presence": "presence_grace",
    "streams": "stream_chunk_size",
    "files": "file_storage_type",
    "webhooks": "webhook_hosts",
    "limits": "rate_limit_enabled",
}
"""Each group's first setting."""


def _settings() -> list[str]:
    first = {name: group for group, name in GROUPS.items()}
    rows: dict[str, list[str]] = {}
    group = ""
    for name, field in Settings.model_fields.items():
        group = first.get(name, group)
        default = _shown(field.default)
        rows.setdefault(group, []).append(f"`{name.upper()}{'=' + default if default else ''}`")
    return ["| group | names and defaults |", "|---|---|"] + [
        f"| {group} | {', '.join(names)} |" for group, names in rows.items()
    ]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{each}"' for each in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if not isinstance(value, Path) else value.as_posix()


def bounds() -> list[str]:
    """The table of docs/security.md: every command, call and door."""
    lines = ["| call | who may | how often | how many | how much | beyond it |", "|---|---|---|---|---|---|"]
    for name, command in CATALOG.items():
        lines.append(_bounds(f"`{name}`", command.bounds))
    for method, path in CALLS:
        lines.append(_bounds(f"`{method} {path}`", CALLS[method, path]))
    for (method, path), given in GIVES.items():
        told = "the command that it names" if given == "*" else f"`{given}`"
        lines.append(
            _bounds(f"`{method} {path}`: {told}", None if given == "*" else bounds_of((method, path)))
        )
    for door, declared in DOORS.items():
        lines.append(_bounds(door, declared))
    return lines


def _bounds(call: str, bounds: Bounds | None) -> str:
    if bounds is None:
        return (
            f"| {call} | as the command | as the command | as the command | as the command | as the command |"
        )
    many = [_cap(cap) for cap in bounds.caps] + [f"keeps {bounds.holds}"]
    beyond = ", ".join(f"`{code}`" if code in TABLE else code for code in dict.fromkeys(bounds.beyond))
    often = f"`{bounds.rate}`" if bounds.rate is not None else bounds.unrated
    return f"| {call} | {bounds.who} | {often} | {'; '.join(many)} | {bounds.size} | {beyond} |"


def _cap(cap: Cap) -> str:
    return f"`{cap.setting.upper()}`"


def caps() -> list[str]:
    """The limits behind the settings under "how many"."""
    lines = ["| setting | at most | beyond it |", "|---|---|---|"]
    for cap in CAPS:
        default = Settings.model_fields[cap.setting].default
        lines.append(f"| `{cap.setting.upper()}` | {default:,} {cap.told} | `{cap.beyond.code}` |")
    return lines


def rates() -> list[str]:
    """The buckets, by the names that stand under "how often"."""
    lines = ["| bucket | for each | at once | then a minute | without it |", "|---|---|---|---|---|"]
    for name, rate in RATES.items():
        figure = f"`{rate.setting.upper()}`" if rate.setting is not None else None
        exempt = ", ".join(sorted(rate.exempt)) or "nobody"
        lines.append(
            f"| `{name}` | {rate.each} | {figure or rate.burst} | {figure or rate.per_minute} | {exempt} |"
        )
    return lines


def _operations() -> list[str]:
    lines = ["| call | | answers |", "|---|---|---|"]
    for tag in TAGS:
        for each in (operation for operation in OPERATIONS if operation.tag == tag):
            answer = each.answer if isinstance(each.answer, str) else each.answer and each.answer.__name__
            shown = f"{each.status} {answer or 'object'}"
            lines.append(f"| `{each.method} {each.path}` | {each.summary} | {shown} |")
    return lines


TABLES = {
    "commands": _commands,
    "events": _events,
    "errors": _errors,
    "settings": _settings,
    "operations": _operations,
}

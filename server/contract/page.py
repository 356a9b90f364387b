"""`/docs`: the contract to read, in one page without scripts. Its look is `server/web/docs.css`."""

from functools import lru_cache
from html import escape
from typing import Any

from events import payloads
from events.catalog import CATALOG
from server.contract.operations import OPERATIONS, TAGS
from server.contract.schemas import REF, Json, components, doc, error_codes
from server.errors import TABLE

#: Files of `server/web/` that the page needs.
ASSETS = ("docs.css", "icon.svg")


@lru_cache(maxsize=2)
def html(version: str, root: str = "") -> str:
    """`root` is the path below which the service is."""
    sections = {
        "Commands": _commands(),
        "Events": _events(),
        "REST": _rest(),
        "Errors": _errors(),
        "Objects": _objects(),
    }
    links = "".join(f'<li><a href="#{name.lower()}">{name}</a></li>' for name in sections)
    body = "".join(
        f'<section id="{name.lower()}" aria-labelledby="{name.lower()}-title">'
        f'<h2 id="{name.lower()}-title">{name}</h2>{text}</section>'
        for name, text in sections.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Parley: the contract</title>
<link rel="icon" href="{root}/web/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}/web/docs.css">
</head>
<body>
<header><img src="{root}/web/icon.svg" alt="" width="28" height="28">
<h1>Parley <span>{escape(version)}</span></h1>
<nav aria-label="Contents"><ul>{links}</ul></nav></header>
<main>
<p class="lead">Every transport has the same commands and the same events: a name and one JSON object.
This page is made from the schemas of the running server; for machines there are
<a href="{root}/openapi.json">OpenAPI</a> and
<a href="{root}/asyncapi.json">AsyncAPI</a>.</p>
<div class="table" tabindex="0"><table>
<thead><tr><th>transport</th><th>an event</th><th>a command</th><th>its reply</th></tr></thead>
<tbody>
<tr><td>Socket.IO, <code>/socket.io/</code></td><td><code>socket.on(name, object)</code></td>
<td><code>socket.emit(name, object, ack?)</code></td><td>the ack</td></tr>
<tr><td>raw WebSocket, <code>/ws/{{session_id}}</code></td><td><code>{{"type": name, …}}</code></td>
<td><code>{{"type": name, "ref"?, …}}</code></td><td><code>{{"type": "ack", "ref", …}}</code></td></tr>
<tr><td>SSE, <code>GET /api/chat/sessions/{{id}}/events</code></td>
<td><code>event: name</code>, <code>data: {{…}}</code></td><td>REST</td><td>the response</td></tr>
</tbody></table></div>
{body}
</main>
</body>
</html>
"""


def _commands() -> str:
    cards = []
    for name, command in CATALOG.items():
        schema, reply = command.schema.__name__, command.reply.__name__
        cards.append(
            f'<article id="command-{name}"><h3>{name}</h3><p>{_text(doc(command.schema))}</p>'
            f"<h4>Payload</h4>{_fields(_schemas()[schema])}"
            f'<p class="reply">Reply: <code>ok: true</code> and {_link(reply)}</p></article>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _events() -> str:
    cards = []
    for name, event in payloads.EVENTS.items():
        shown = " or ".join(_link(schema.__name__) for schema in event.schemas)
        cards.append(
            f'<article id="event-{name}"><h3>{name} <small class="{event.kind}">{event.kind}</small></h3>'
            f"<p>{_text(event.summary)}</p><p>Carries {shown}.</p></article>"
        )
    return (
        "<p><b>Durable</b> events are healed from the database whatever happens; <b>logged</b> ones are "
        "replayed within the recovery window; <b>volatile</b> and <b>direct</b> ones are never replayed.</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _rest() -> str:
    parts = []
    for tag, text in TAGS.items():
        rows = []
        for each in OPERATIONS:
            if each.tag != tag:
                continue
            body = _link(each.body.__name__) if each.body else "file" if each.upload else ""
            if isinstance(each.answer, str):
                answer = f"<code>{each.answer}</code>"
            else:
                answer = _link(each.answer.__name__) if each.answer else ""
            call = f'<b class="{each.method.lower()}">{each.method}</b> <code>{escape(each.path)}</code>'
            rows.append(
                f"<tr><td>{call}</td>"
                f"<td>{_text(each.summary)}</td><td>{body}</td><td>{each.status} {answer}</td></tr>"
            )
        if rows:
            parts.append(f"<h3>{escape(text)}</h3>" + _table(("call", "", "takes", "answers"), "".join(rows)))
    return "".join(parts)


def _errors() -> str:
    rows = "".join(
        f"<tr><td><code>{code}</code></td><td>{TABLE[code].status}</td><td>{TABLE[code].close or ''}</td>"
        f"<td>{'yes' if error.retryable else ''}</td><td>{_text(error.message)}</td></tr>"
        for code, error in error_codes().items()
    )
    return _table(("code", "HTTP", "raw close", "retryable", ""), rows)


def _objects() -> str:
    return "".join(
        f'<article id="{name}"><h3>{name}</h3><p>{_text(schema.get("description", ""))}</p>'
        f"{_fields(schema)}</article>"
        for name, schema in _schemas().items()
    )


@lru_cache(maxsize=1)
def _schemas() -> Json:
    return components()


def _fields(schema: Json) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{name}</code>{'' if name in required else ' <i>optional</i>'}</td>"
        f"<td>{_type(each)}</td><td>{_limits(each)}</td></tr>"
        for name, each in schema.get("properties", {}).items()
    )
    return _table(("field", "type", ""), rows) if rows else "<p>No fields.</p>"


def _table(heads: tuple[str, ...], rows: str) -> str:
    head = "".join(f"<th>{text}</th>" if text else "<td></td>" for text in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="table" tabindex="0">{table}</div>'


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return _link(str(schema["$ref"]).removeprefix(REF))
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"] if each is not None)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {})}"
    return escape(str(schema.get("type", "anything")))


def _limits(schema: Json) -> str:
    choices: list[Any] = [schema, *schema.get("anyOf", ())]
    words = {
        "minimum": "at least",
        "maximum": "at most",
        "minLength": "length from",
        "maxLength": "length to",
    }
    found = [f"{text} {each[key]}" for each in choices for key, text in words.items() if key in each]
    if schema.get("default") is not None:
        found.append(f"default {schema['default']}")
    return escape(", ".join(found))


def _link(name: str) -> str:
    return f'<a href="#{name}">{name}</a>' if name in _schemas() else name


def _text(text: str) -> str:
    """Escaped, with `code` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))

"""The site's reference, as pages of Markdown: made from the schemas, with a request to try for each call."""

import json
from functools import lru_cache
from html import escape
from typing import Any

from events import payloads
from events.catalog import CATALOG
from server.contract import examples
from server.contract.operations import OPERATIONS, TAGS, RestCall
from server.contract.schemas import REF, Json, components, doc, error_codes, without
from server.errors import TABLE

#: Where a page stands in for who tries a call: `docs/theme/try.js` fills it.
_WHO = '<div class="who" data-who></div>'
#: Calls that a page cannot make: an upload (a file is chosen elsewhere), and what erases a user.
_NOT_TRIED = {("DELETE", "/api/server/users/{user_id}")}


def pages() -> dict[str, str]:
    """Name of the file -> its Markdown."""
    found = {
        "index.md": _index(),
        "commands.md": _commands(),
        "events.md": _events(),
        "errors.md": _errors(),
        "objects.md": _objects(),
    }
    for tag in dict.fromkeys(each.tag for each in OPERATIONS if each.tag != "commands"):
        found[f"rest-{slug(tag)}.md"] = _rest(tag)
    return found


def slug(tag: str) -> str:
    return tag.replace(" ", "-")


def _index() -> str:
    tags = dict.fromkeys(each.tag for each in OPERATIONS if each.tag != "commands")
    calls = "\n".join(f"- [{_title(tag)}](rest-{slug(tag)}.md): {_of_tag(tag)}" for tag in tags)
    return f"""# Reference

Every transport has the same commands and the same events: a name and one JSON object. These pages are made
from the schemas of the code. Each call and each command has a request to try, which goes to the server that
shows this page.

| transport | an event | a command | its reply |
|---|---|---|---|
| Socket.IO, `/socket.io/` | `socket.on(name, object)` | `socket.emit(name, object, ack?)` | the ack |
| raw WebSocket, `/ws/{{id}}` | `{{"type": name, …}}` | `{{"type": name, …}}` | `{{"type": "ack", …}}` |
| SSE, `GET /api/chat/sessions/{{id}}/events` | `event: name`, `data: {{…}}` | REST | the response |

- [Commands](commands.md): what a client asks for
- [Events](events.md): what clients are told
{calls}
- [Errors](errors.md), [objects](objects.md)
- For machines: <a href="../../openapi.json">OpenAPI</a> and <a href="../../asyncapi.json">AsyncAPI</a>,
  from the running server
"""


def _title(tag: str) -> str:
    return {"ai sdk": "REST: AI SDK", "openai": "REST: OpenAI", "ag-ui": "REST: AG-UI"}.get(
        tag, f"REST: {tag}"
    )


def _of_tag(tag: str) -> str:
    return TAGS[tag].replace("docs/doors.md", "[doors](../doors.md)")


def _commands() -> str:
    parts = [
        "# Commands\n\nWhat a client asks for, over Socket.IO or a raw WebSocket; most are REST calls, too: "
        f"`POST /api/chat/sessions/{{session_id}}/{{command}}`.\n\n{_WHO}\n"
    ]
    for name, command in CATALOG.items():
        reply = command.reply.__name__
        tried = _try_command(name)
        parts.append(
            f"## {name}\n\n{doc(command.schema)}\n\nReply: `ok: true` and {_link(reply)}.\n\n"
            f"{_details('Fields', _fields(_schemas()[command.schema.__name__]))}\n\n{tried}\n"
        )
    return "\n".join(parts)


def _try_command(name: str) -> str:
    shown = json.dumps(examples.payload(name), ensure_ascii=False)
    return _form(
        f'data-command="{name}"', f'await socket.emitWithAck("{name}", {shown})', examples.payload(name)
    )


def _events() -> str:
    rows = []
    for name, event in payloads.EVENTS.items():
        shown = " or ".join(_link(schema.__name__) for schema in event.schemas)
        rows.append(f"## {name}\n\n*{event.kind}.* {event.summary}\n\nCarries {shown}.\n")
    return (
        "# Events\n\n**Durable** events are healed from the database whatever happens; **logged** ones are "
        "replayed within the recovery window; **volatile** and **direct** ones are never replayed.\n\n"
        + "\n".join(rows)
    )


def _rest(tag: str) -> str:
    parts = [f"# {_title(tag)}\n\n{_of_tag(tag)}.\n\n{_WHO}\n"]
    for each in OPERATIONS:
        if each.tag != tag:
            continue
        takes = (
            f" Takes {_link(each.body.__name__)}." if each.body else " Takes a file." if each.upload else ""
        )
        if isinstance(each.answer, str):
            answer = f" `{each.answer}`"
        else:
            answer = f" {_link(each.answer.__name__)}" if each.answer else ""
        also = "".join(f" {status}: {text}." for status, text in each.also.items())
        parts.append(
            f"## {each.method} {each.path}\n\n{each.summary}.{takes} Answers {each.status}{answer}.{also}\n\n"
            f"{_given(each)}\n\n{_try_call(each)}\n"
        )
    return "\n".join(parts)


def _given(call: RestCall) -> str:
    tables = []
    if call.query:
        tables.append(_details("Query", _fields(without(call.query, *call.leave_out))))
    if call.parameters:
        rows = "".join(
            f"<tr><td><code>{name}</code></td><td>{place}</td><td>{_type(schema)}</td></tr>"
            for name, (place, schema) in call.parameters.items()
        )
        tables.append(_details("Parameters", _table(("name", "in", "type"), rows)))
    if call.body:
        tables.append(_details("Body", _fields(without(call.body, *call.leave_out))))
    return "\n\n".join(tables)


def _try_call(call: RestCall) -> str:
    body, address = examples.body(call), examples.address(call)
    lines = [f"curl -N -X {call.method} '{{url}}{address}'"]
    if not call.public:
        lines.append("-H 'Authorization: Bearer {token}'")
    if call.upload:
        lines.append("-F file=@picture.png")
    if body is not None:
        lines.append(f"-d '{json.dumps(body, ensure_ascii=False)}'")
    shown = " \\\n  ".join(lines)
    if call.upload or (call.method, call.path) in _NOT_TRIED:
        return f'<pre class="try" data-shown><code>{escape(shown)}</code></pre>'
    public = " data-public" if call.public else ""
    return _form(f'data-method="{call.method}" data-path="{escape(address)}"{public}', shown, body)


def _form(what: str, shown: str, body: Json | None) -> str:
    """One line of HTML and no blank one, so that Markdown leaves it alone."""
    area = ""
    if body is not None:
        text = json.dumps(body, ensure_ascii=False, indent=1)
        rows = text.count("\n") + 1
        area = f'<textarea aria-label="JSON" spellcheck="false" rows="{rows}">{escape(text)}</textarea>'
    return (
        f'<details class="try"><summary>Try it</summary><form {what}>'
        f"<pre data-shown><code>{escape(shown)}</code></pre>{area}"
        '<button>Send</button><pre class="answer" role="status" hidden></pre></form></details>'
    )


def _errors() -> str:
    rows = "".join(
        f"<tr><td><code>{code}</code></td><td>{TABLE[code].status}</td><td>{TABLE[code].close or ''}</td>"
        f"<td>{'yes' if error.retryable else ''}</td><td>{_text(error.message)}</td></tr>"
        for code, error in error_codes().items()
    )
    return f"# Errors\n\n{_table(('code', 'HTTP', 'raw close', 'retryable', ''), rows)}\n"


def _objects() -> str:
    parts = ["# Objects\n\nWhat commands, events and replies are made of.\n"]
    for name, schema in _schemas().items():
        parts.append(f"## {name}\n\n{schema.get('description', '')}\n\n{_fields(schema)}\n")
    return "\n".join(parts)


@lru_cache(maxsize=1)
def _schemas() -> Json:
    bodies = [each.body for each in OPERATIONS if each.body]
    answers = [each.answer for each in OPERATIONS if each.answer and not isinstance(each.answer, str)]
    return components([*bodies, *answers])


def _details(title: str, table: str) -> str:
    return f"<details><summary>{title}</summary>{table}</details>"


def _fields(schema: Json) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{name}</code>{'' if name in required else ' <i>optional</i>'}</td>"
        f"<td>{_type(each)}</td><td>{_limits(each)}</td></tr>"
        for name, each in schema.get("properties", {}).items()
    )
    return _table(("field", "type", ""), rows) if rows else "<p>No fields.</p>"


def _table(heads: tuple[str, ...], rows: str) -> str:
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(REF)
        return f'<a href="objects.html#{name.lower()}">{name}</a>' if name in _schemas() else name
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
    return f"[{name}](objects.md#{name.lower()})" if name in _schemas() else name


def _text(text: str) -> str:
    """Escaped, with `code` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))

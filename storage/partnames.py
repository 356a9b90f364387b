"""The names in a message's parts: those that a search finds, and the one that stands for a message without
text. As SQL and, of a record, as Python."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from storage.records import MessageRecord
from storage.tables import files

#: Characters of a message in a list: enough for a line, whatever the message's size.
PREVIEW = 500

#: The names of files, and the names and titles of tools, in the column `{of}`: one a line, or NULL.
NAMES = {
    "postgresql": """(
    SELECT string_agg(CASE part ->> 'type' WHEN 'file' THEN part ->> 'name'
        WHEN 'tool' THEN concat_ws(chr(10), part ->> 'name', part ->> 'title') END, chr(10))
    FROM jsonb_array_elements({of}) AS part)""",
    "sqlite": """(
    SELECT group_concat(CASE value ->> 'type' WHEN 'file' THEN value ->> 'name'
        WHEN 'tool' THEN (value ->> 'name') || coalesce(char(10) || (value ->> 'title'), '') END, char(10))
    FROM json_each({of}))""",
}
_CALLED = """CASE {part} ->> 'type' WHEN 'file' THEN {part} ->> 'name' WHEN 'source' THEN {part} ->> 'title'
        WHEN 'tool' THEN coalesce(nullif({part} ->> 'title', ''), {part} ->> 'name') END"""
_FIRST = """(
    SELECT called FROM (SELECT {called} AS called FROM {each}) AS named WHERE called <> '' LIMIT 1)"""
_FIRSTS = {
    "postgresql": _FIRST.format(
        called=_CALLED.format(part="part"), each="jsonb_array_elements({of}) AS part"
    ),
    "sqlite": _FIRST.format(called=_CALLED.format(part="value"), each="json_each({of})"),
}


class first_name(FunctionElement[str]):
    """The first name in a column of parts, or NULL."""

    inherit_cache = True
    type = sa.Text()


@compiles(first_name, "postgresql")
@compiles(first_name, "sqlite")
def _first_name(element: first_name, compiler: SQLCompiler, **options: Any) -> str:
    return _FIRSTS[compiler.dialect.name].format(of=compiler.process(element.clauses, **options))


def previewed(message: Any) -> sa.ColumnElement[str]:
    """`preview` of a row, which may be of a version that stored no parts of a file."""
    file = sa.select(files.c.file_name).where(files.c.message_id == message.c.message_id).limit(1)
    name = sa.case(
        (message.c.content != "", None),
        (message.c.parts.is_not(None), first_name(message.c.parts)),
        (message.c.message_type == "file", file.correlate(message).scalar_subquery()),
    )
    return sa.func.substr(sa.func.coalesce(name, message.c.content), 1, PREVIEW, type_=sa.Text)


def preview(record: MessageRecord) -> str:
    """What people read first: text, or else the name of what there is."""
    if record.content or record.parts is None:
        return record.content[:PREVIEW]
    name: str = next(filter(None, map(_called, record.parts)), "")
    return name[:PREVIEW]


def _called(part: dict[str, Any]) -> Any:
    match part["type"]:
        case "file":
            return part.get("name") or ""
        case "source":
            return part.get("title") or ""
        case "tool":
            return part.get("title") or part.get("name") or ""
    return ""

"""Messages in which somebody has answered what they waited for, as SQL in both dialects."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_ANSWERED = {
    "postgresql": """EXISTS (SELECT 1 FROM jsonb_array_elements({of}) AS asked
        WHERE asked -> 'answer' ->> 'user_id' = {user} AND asked -> 'answer' -> 'payload' IS NOT NULL)""",
    "sqlite": """EXISTS (SELECT 1 FROM json_each({of})
        WHERE value ->> '$.answer.user_id' = {user} AND value -> '$.answer.payload' IS NOT NULL)""",
}


class _Answered(FunctionElement[bool]):
    inherit_cache = True
    type = sa.Boolean()


def answered_by(interrupts: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """Whether one of the interrupts has an answer with a payload, given by the identity given as `name`."""
    return _Answered(interrupts, sa.bindparam(name, type_=sa.String)) == sa.true()


@compiles(_Answered, "postgresql")
@compiles(_Answered, "sqlite")
def _answered(element: _Answered, compiler: SQLCompiler, **options: Any) -> str:
    of, user = (compiler.process(each, **options) for each in element.clauses)
    return _ANSWERED[compiler.dialect.name].format(of=of, user=user)

"""Several SELECTs for many keys as one statement: one round trip, and all of them see the same moment."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import replacement_traverse

from storage.database import Database, Row
from storage.statement import Statement, Strings, processors
from storage.turns import LONG
from storage.types import Time

_VALUE = sa.literal_column("asked.value", type_=sa.Text())


class _array(FunctionElement[str]):
    """A row as a JSON array."""

    inherit_cache = True
    type = sa.Text()


class _arrays(FunctionElement[str]):
    """All rows of a statement, in its order, as one JSON array."""

    inherit_cache = True
    type = sa.Text()


@compiles(_array, "postgresql")
def _array_postgresql(element: _array, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_build_array({compiler.process(element.clauses, **options)})"


@compiles(_array, "sqlite")
def _array_sqlite(element: _array, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **options)})"


@compiles(_arrays, "postgresql")
def _arrays_postgresql(element: _arrays, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce(json_agg({compiler.process(element.clauses, **options)}), '[]')"


@compiles(_arrays, "sqlite")
def _arrays_sqlite(element: _arrays, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **options)})"


class _each(FunctionElement[str]):
    """A list of strings as a table."""

    inherit_cache = True
    type = sa.Text()


@compiles(_each, "postgresql")
def _each_postgresql(element: _each, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.clauses, **options)}) AS value)"


@compiles(_each, "sqlite")
def _each_sqlite(element: _each, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


class BatchedSelect:
    """Selects that share their parameters, for many values of one of these, the text `each`. Their rows
    travel as JSON and arrive as each select alone gives them."""

    def __init__(self, *selects: sa.Select[Any], each: str) -> None:
        self._each = each
        parts = [self._of_each(select).subquery() for select in selects]
        self._types = [[column.type for column in part.c] for part in parts]
        asked = _each(sa.bindparam(each, type_=Strings())).table_valued("value", name="asked")
        self.statement = Statement(
            sa.select(
                _VALUE, *(sa.select(_arrays(_array(*part.c))).scalar_subquery() for part in parts)
            ).select_from(asked)
        )
        self._decoders: dict[str, list[list[Callable[[Any], Any] | None]]] = {}

    def _of_each(self, select: sa.Select[Any]) -> sa.Select[Any]:
        def replaced(element: Any, **_: Any) -> Any:
            return _VALUE if isinstance(element, sa.BindParameter) and element.key == self._each else None

        return cast(sa.Select[Any], replacement_traverse(select, {}, replaced))

    async def fetch(self, db: Database, asked: Sequence[str], **values: Any) -> dict[str, list[list[Row]]]:
        """By value, the rows of each select."""
        rows = await db.fetch_all(self.statement, **values, **{self._each: asked})
        decoders = self._decoders.get(db.dialect)
        if decoders is None:
            decoders = self._decoders[db.dialect] = [_decoders(types, db.dialect) for types in self._types]
        taken: dict[str, list[list[Row]]] = {}
        for value, *found in rows:
            parts = taken[value] = []
            for text, part in zip(found, decoders, strict=True):
                parts.append([_decoded(row, part) for row in orjson.loads(text)])
                if len(text) > LONG:
                    await asyncio.sleep(0)
        return taken


def _decoders(types: Sequence[sa.types.TypeEngine[Any]], dialect: str) -> list[Callable[[Any], Any] | None]:
    if dialect == "sqlite":  # JSON holds what its columns hold
        return processors(types, dialect)
    return [_time if isinstance(t, Time) else float if isinstance(t, sa.Float) else None for t in types]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _decoded(row: list[Any], decoders: Sequence[Callable[[Any], Any] | None]) -> list[Any]:
    return [
        value if decode is None or value is None else decode(value)
        for decode, value in zip(decoders, row, strict=True)
    ]

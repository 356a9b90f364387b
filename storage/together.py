"""Several statements as one, so that all of them see the same moment, in one round trip."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from storage.database import Database, Row
from storage.statement import Statement, processors
from storage.types import Time


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


class Together:
    """Selects that share their parameters. Their rows travel as JSON and arrive as each alone gives them."""

    def __init__(self, *selects: sa.Select[Any]) -> None:
        parts = [select.subquery() for select in selects]
        self._types = [[column.type for column in part.c] for part in parts]
        self._statement = Statement(
            sa.select(*(sa.select(_arrays(_array(*part.c))).scalar_subquery() for part in parts))
        )
        self._decoders: dict[str, list[list[Callable[[Any], Any] | None]]] = {}

    async def fetch(self, db: Database, **values: Any) -> list[list[Row]]:
        """The rows of each."""
        found = await db.fetch_one(self._statement, **values)
        assert found is not None
        decoders = self._decoders.get(db.dialect)
        if decoders is None:
            decoders = self._decoders[db.dialect] = [_decoders(types, db.dialect) for types in self._types]
        return [
            [_decoded(row, part) for row in orjson.loads(text)]
            for text, part in zip(found, decoders, strict=True)
        ]


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

"""Core expressions compiled once per dialect, with what their parameters and results need.

Compiling costs more than running a small query; a `Statement` is made at import and costs nothing more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import asyncpg as postgresql
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from storage.errors import StorageError

Processor = Callable[[Any], Any] | None


def to_json(value: Any) -> str:
    """Raises StorageError for what is no JSON: lone surrogates, integers past 64 bits."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise StorageError(str(error)) from error


#: JSONB is decoded by the connection's codec (`storage.database`), so that only its encoding is done here.
_DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "postgresql": lambda: postgresql.dialect(json_serializer=to_json),  # type: ignore[no-untyped-call]
    "sqlite": lambda: pysqlite.dialect(
        paramstyle="qmark", json_serializer=to_json, json_deserializer=orjson.loads
    ),
}


def processors(types: Iterable[sa.types.TypeEngine[Any]], dialect_name: str) -> list[Processor]:
    """For each column the function that turns the driver's value into ours."""
    dialect = _DIALECTS[dialect_name]()
    return [each.dialect_impl(dialect).result_processor(dialect, None) for each in types]


class Compiled:
    """One statement in one dialect: its text, the order of its parameters, and the conversions."""

    __slots__ = ("_binds", "_defaults", "_results", "sql")

    def __init__(self, expression: sa.ClauseElement, dialect_name: str) -> None:
        dialect = _DIALECTS[dialect_name]()
        compiled = expression.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        self._defaults = dict(compiled.params)
        self._binds: list[tuple[str, Processor]] = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ]
        results: list[Processor] = []
        # PostgreSQL's driver already gives what is wanted; a row then goes up as it is.
        if dialect_name == "sqlite" and isinstance(expression, sa.sql.expression.ReturnsRows):
            results = processors([column.type for column in expression.exported_columns], dialect_name)
        self._results = results if any(results) else None

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """The parameters in the statement's order; one that is not given keeps the expression's own value."""
        defaults = self._defaults
        values = []
        for name, process in self._binds:
            value = given[name] if name in given else defaults[name]
            values.append(value if process is None else process(value))
        return values

    def row(self, row: Sequence[Any]) -> Sequence[Any]:
        if self._results is None:
            return row
        return [
            value if process is None else process(value)
            for process, value in zip(self._results, row, strict=True)
        ]


class Statement:
    """A Core expression with `bindparam`s, ready for either dialect."""

    __slots__ = ("_compiled", "_expression")

    def __init__(self, expression: sa.ClauseElement) -> None:
        self._expression = expression
        self._compiled: dict[str, Compiled] = {}

    def on(self, dialect_name: str) -> Compiled:
        compiled = self._compiled.get(dialect_name)
        if compiled is None:
            compiled = self._compiled[dialect_name] = Compiled(self._expression, dialect_name)
        return compiled


class Strings(TypeDecorator[list[str]]):
    """A list of strings as one parameter: an array, or on SQLite a JSON array."""

    impl = sa.Text
    cache_ok = True
    item: sa.types.TypeEngine[Any] = sa.Text()

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(self.item))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return list(value) if dialect.name == "postgresql" else to_json(list(value))


class Numbers(Strings):
    """The same of whole numbers."""

    cache_ok = True
    item = sa.BigInteger()


class _Among(ColumnElement[bool]):
    inherit_cache = False
    type = sa.Boolean()

    def self_group(self, against: Any = None) -> "_Among":
        """As it is: where a dialect has no boolean, ` = 1` behind it would keep every index out."""
        return self

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        listed = Numbers() if isinstance(column.type, sa.Integer) else Strings()
        self.listed: sa.BindParameter[Any] = sa.bindparam(name, type_=listed)


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"{column} = ANY ({compiler.process(element.listed, **options)})"


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"{column} IN (SELECT value FROM json_each({compiler.process(element.listed, **options)}))"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column` is one of the list given as `name`; unlike IN, one text for any length."""
    return _Among(column, name)


class octets(FunctionElement[int]):
    """The length of a text in bytes."""

    inherit_cache = True
    type = sa.BigInteger()


@compiles(octets, "postgresql")
def _octets_postgresql(element: octets, compiler: SQLCompiler, **options: Any) -> str:
    return f"octet_length(CAST({compiler.process(element.clauses, **options)} AS text))"


@compiles(octets, "sqlite")
def _octets_sqlite(element: octets, compiler: SQLCompiler, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"

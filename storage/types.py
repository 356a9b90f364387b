"""Column types that mean the same on PostgreSQL and SQLite."""

from datetime import UTC, datetime

from sqlalchemy import JSON, BigInteger, DateTime, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator


class Time(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite knows no zones: there it is text, in UTC, of fixed width, so it sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.replace(tzinfo=UTC)


#: A JSON object; `None` is SQL's NULL.
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

#: SQLite numbers rows by itself only in a column that is called INTEGER.
Big = BigInteger().with_variant(Integer(), "sqlite")

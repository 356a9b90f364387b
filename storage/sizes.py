"""How large a message is, for what is read and told in one turn of the loop: as SQL, in bytes."""

from functools import reduce
from operator import add

import sqlalchemy as sa

from storage.records import BULK
from storage.statement import octets
from storage.tables import messages

#: What a message's other fields add to those of any length, in bytes of JSON.
OVERHEAD = 500


def bytes_of(name: str) -> sa.ColumnElement[int]:
    """Of one column."""
    column = messages.c[name]
    return sa.func.coalesce(octets(column), 0) if column.nullable else octets(column)


#: Of a row, about.
SIZE: sa.ColumnElement[int] = reduce(add, map(bytes_of, BULK)) + OVERHEAD

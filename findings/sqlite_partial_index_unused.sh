#!/bin/sh
# Two ways in which SQLite passes over a partial index that fits a query, without a word:
# - SQLAlchemy writes a condition that is a `literal_column` of type Boolean as `... = 1` for SQLite (not for
#   PostgreSQL). It means the same, but SQLite does not see the index's condition in it, and scans the table.
#   `text` and a comparison of columns are written as they stand.
# - Of a whole and a partial index over the same columns SQLite takes the one that was created last, until ANALYZE has
#   counted rows. So a migration that adds the whole one later takes the partial one's place.
# Seen with SQLAlchemy 2.1.9 and SQLite 3.40.1, Python 3.11.
# Exits non-zero if this changes. Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check sqlalchemy==2.1.9
cat >look.py <<'PY'
import sqlite3
import sys

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

CONDITION = "state <> 'done'"
tables = sa.MetaData()
turns = sa.Table("turns", tables, sa.Column("id", sa.Integer), sa.Column("room", sa.Text), sa.Column("state", sa.Text))
sa.Index("open_turns", turns.c.room, sqlite_where=sa.text(CONDITION))


def plan(database, query):
    return database.execute("EXPLAIN QUERY PLAN " + query).fetchall()[0][3].split(" (")[0]


def told(condition):
    query = sa.select(turns.c.id).where(turns.c.room == "a", condition)
    written = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with sa.create_engine("sqlite://").connect() as connection:
        tables.create_all(connection)
        found = plan(connection.connection.driver_connection, written)
    print(written.split("AND ")[1], "->", found)
    return found


def younger(first, second):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE turns (id INTEGER PRIMARY KEY, room TEXT, seq INTEGER, state TEXT)")
    columns = {"whole": "room, seq", "partial": f"room, seq) WHERE ({CONDITION}"}
    for name in (first, second):
        database.execute(f"CREATE INDEX {name} ON turns ({columns[name]})")
    rows = [("a", n, "done" if n < 990 else "open") for n in range(1000)]
    database.executemany("INSERT INTO turns (room, seq, state) VALUES (?, ?, ?)", rows)
    query = f"SELECT id FROM turns WHERE room = 'a' AND {CONDITION} ORDER BY seq"
    before = plan(database, query)
    database.execute("ANALYZE")
    print(f"{first}, then {second}: {before}; analyzed: {plan(database, query)}")
    return before, plan(database, query)


print("SQLite", sqlite3.sqlite_version)
uses, scans = "SEARCH turns USING INDEX open_turns", "SCAN turns"
conditions = sa.text(CONDITION), turns.c.state != sa.literal_column("'done'"), sa.literal_column(CONDITION, sa.Boolean)
seen = [told(condition) for condition in conditions]
whole, partial = "SEARCH turns USING INDEX whole", "SEARCH turns USING INDEX partial"
ages = [younger("whole", "partial"), younger("partial", "whole")]
sys.exit(0 if seen == [uses, uses, scans] and ages == [(partial, partial), (whole, partial)] else 1)
PY
env/bin/python look.py

# ruff: noqa: E501  a row is a line of the document
"""What Parley has been tried with: the rows of the matrix in docs/operations.md, and the tests that try each.

A test names a part by its row's key; tests/people/test_matrix.py holds rows, tests and document together.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`tests`: what tries it, as `file::function`."""

    part: str
    versions: str
    mode: str
    works: str
    setting: str
    tests: tuple[str, ...]

    def line(self) -> str:
        cells = (self.part, self.versions, self.mode, self.works, self.setting)
        return f"| {' | '.join(cells)} |"


HEAD = ("| part | tried | how | what works | setting |", "|---|---|---|---|---|")
ROWS = (
    Row("SQLite", "3.40, 3.46", "one process, WAL", "everything of one node", "`DATABASE_URL=sqlite:///…`",
        ("tests/storage/test_contention.py", "tests/doors/test_messages.py")),
    Row("PostgreSQL", "15, 17", "directly, over TCP or a socket", "everything", "`DATABASE_URL=postgresql://…`",
        ("tests/storage/test_address.py", "tests/cluster/test_outages.py::test_postgresql_restarts")),
    Row("PostgreSQL", "15, 17", "with TLS", "everything; `channel_binding=require` is refused", "`?sslmode=verify-full`",
        ("tests/storage/test_tls.py",)),
    Row("PgBouncer", "1.18, 1.24", "session mode", "everything, migrations too", "pools no larger than its `default_pool_size`",
        ("tests/storage/test_pooler.py::test_session_mode", "tests/storage/test_pooler.py::test_migrations_through_it")),
    Row("PgBouncer", "1.18, 1.24", "transaction mode", "everything, migrations too; two round trips more each",
        "`DATABASE_POOL_MODE=transaction`",
        ("tests/storage/test_pooler.py::test_transaction_mode_under_load",
         "tests/storage/test_pooler.py::test_a_server_behind_it")),
    Row("Redis", "6.2.14, 7.0.15, 8.0.2", "alone, or a primary whose address moves to its replica",
        "everything; a demoted primary is left within seconds", "`REDIS_URL=redis://…`",
        ("tests/cluster/test_stores.py::test_a_demoted_primary_is_left_within_seconds",)),
    Row("Valkey", "9.1.2", "as Redis", "everything, demotion too", "`REDIS_URL=redis://…`",
        ("tests/cluster/test_stores.py::test_a_demoted_primary_is_left_within_seconds",)),
    Row("Redis", "7.0.15", "with TLS, a password, a user's rights, a Unix socket", "everything",
        "`rediss://`, `unix://`; the rights are [above](#settings-for-a-cluster)",
        ("tests/redis/test_endpoint.py", "tests/redis/test_rights.py")),
    Row("Redis Sentinel", "7.0.15", "failovers", "everything", "`redis+sentinel://…`",
        ("tests/redis/test_endpoint.py",)),
    Row("Redis Cluster", "none", "", "no: a node's scripts use several keys", "", ()),
    Row("nginx", "1.22, 1.26", "round robin, or by address", "everything, an outage of Redis too",
        "`deploy/nginx/`",
        ("tests/cluster/test_proxies.py::test_an_outage_of_redis_stops_nothing_behind_a_balancer",
         "tests/cluster/test_prefixes.py::test_every_door_is_there")),
    Row("HAProxy", "2.6, 3.0", "round robin, or by cookie", "everything, an outage of Redis too",
        "`deploy/haproxy/`",
        ("tests/cluster/test_proxies.py::test_an_outage_of_redis_stops_nothing_behind_a_balancer",)),
    Row("Caddy", "2.6.2", "round robin", "everything, an outage of Redis too; a new configuration closes all WebSockets",
        "`deploy/caddy/`",
        ("tests/cluster/test_proxies.py::test_clients_of_every_kind_connect_and_chat",
         "tests/cluster/test_proxies.py::test_an_outage_of_redis_stops_nothing_behind_a_balancer")),
    Row("Apache", "2.4.71", "round robin, event MPM", "everything, an outage of Redis too; a thread for each connection",
        "`deploy/apache/`",
        ("tests/cluster/test_proxies.py::test_clients_of_every_kind_connect_and_chat",
         "tests/cluster/test_proxies.py::test_an_outage_of_redis_stops_nothing_behind_a_balancer")),
    Row("none", "", "`serve --workers N`: several nodes on one port", "everything", "`REDIS_URL`",
        ("tests/cluster/test_one_port.py::test_polling_needs_no_stickiness",)),
)  # fmt: skip

"""How a PostgreSQL address is read: libpq's forms, its parameters and variables, and what cannot be kept."""

from pathlib import Path

import pytest

from storage.address import MODES, Address, parse
from storage.url import check
from tests.support.certificate import self_signed


def read(rest: str, **environ: str) -> Address:
    return parse(f"postgresql://{rest}", environ)


@pytest.mark.parametrize(
    ("rest", "hosts"),
    [
        ("h/d", [("h", 5432)]),
        ("u:p@h:1/d", [("h", 1)]),
        ("h1:1,h2:2/d", [("h1", 1), ("h2", 2)]),
        ("h1,h2:2/d", [("h1", 5432), ("h2", 2)]),
        ("[::1]:7,[fe80::1]/d", [("::1", 7), ("fe80::1", 5432)]),
        ("/d?host=/var/run/x&port=5433", [("/var/run/x", 5433)]),
        ("%2Fvar%2Frun%2Fx/d", [("/var/run/x", 5432)]),
        ("%2Fvar%2Frun%2Fx:9/d", [("/var/run/x", 9)]),
        ("/d?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("/d?host=h1,h2&port=3", [("h1", 3), ("h2", 3)]),
        ("h1,h2/d?port=3", [("h1", 3), ("h2", 3)]),
    ],
)
def test_hosts(rest: str, hosts: list[tuple[str, int]]) -> None:
    assert list(read(rest).hosts) == hosts


def test_names_are_decoded_as_libpq_does() -> None:
    address = read("al%40ice:p%3Aw%2F@h/d%20b?application_name=a%20b+c&options=-c%20search_path%3Dx")
    assert (address.user, address.password, address.database) == ("al@ice", "p:w/", "d b")
    assert address.application_name == "a b+c", "a plus is a plus"
    assert address.options == "-c search_path=x"
    of_query = read("h?dbname=d&user=u&password=p&passfile=/x")
    assert (of_query.user, of_query.password, of_query.database, of_query.passfile) == ("u", "p", "d", "/x")


def test_modes() -> None:
    assert read("h/d").tls.mode == "prefer"
    for mode in MODES:
        assert read(f"h/d?sslmode={mode}").tls.mode == mode
    assert read("h/d?ssl=true").tls.mode == "require"
    assert read("h/d?ssl=verify-full").tls.mode == "verify-full"
    assert read("h/d?sslrootcert=system").tls.mode == "verify-full"


def test_the_environment_counts_where_the_address_is_silent() -> None:
    environ = {"PGSSLMODE": "require", "PGUSER": "bob", "PGAPPNAME": "chat", "PGPORT": "7", "PGHOST": "other"}
    address = read("h/d", **environ)
    assert (address.tls.mode, address.user, address.application_name) == ("require", "bob", "chat")
    assert address.hosts == (("h", 7),)
    given = read("alice@h:1/d?sslmode=disable&application_name=x", **environ)
    assert (given.tls.mode, given.user, given.application_name) == ("disable", "alice", "x")
    assert given.hosts == (("h", 1),)
    assert read("/d", **environ).hosts == (("other", 7),)


def test_the_rest() -> None:
    address = read(
        "h/d?connect_timeout=3&target_session_attrs=read-write&load_balance_hosts=random&keepalives_idle=30"
        "&statement_cache_size=0&pgbouncer=true&channel_binding=prefer&gssencmode=disable&client_encoding=utf8"
    )
    assert address.connect_timeout == 3
    assert address.target == "read-write"
    assert address.random_host
    assert address.keepalive == {"keepalives_idle": 30}
    assert address.statement_cache_size == 0
    assert address.pooled
    plain = read("h/d")
    assert (plain.connect_timeout, plain.target, plain.statement_cache_size) == (None, "any", None)
    assert not plain.pooled
    assert not plain.random_host
    assert read("h/d?connect_timeout=0").connect_timeout == float("inf")
    assert read("h/d?connect_timeout=1").connect_timeout == 2


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("channel_binding=require", "channel_binding"),
        ("sslmode=verify_full", "sslmode"),
        ("sslmod=require", r"sslmod \(sslmode\?\)"),
        ("sslrootcert=/nowhere/root.crt", "sslrootcert"),
        ("sslmode=require&sslrootcert=/nowhere/root.crt", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "sslrootcert"),
        ("sslcert=/nowhere/c", "sslcert"),
        ("sslkey=/nowhere/k", "sslkey"),
        ("sslcrl=/nowhere/k", "sslcrl"),
        ("sslcrldir=/tmp", "sslcrldir"),
        ("ssl_min_protocol_version=1.2", "ssl_min_protocol_version"),
        ("gssencmode=require", "gssencmode"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("requirepeer=postgres", "requirepeer"),
        ("service=chat", "service"),
        ("hostaddr=127.0.0.1", "hostaddr"),
        ("sslnegotiation=direct", "sslnegotiation"),
        ("client_encoding=latin1", "client_encoding"),
        ("replication=true", "replication"),
        ("connect_timeout=soon", "connect_timeout"),
        ("target_session_attrs=master", "target_session_attrs"),
        ("statement_cache_size=-1", "statement_cache_size"),
        ("pgbouncer=maybe", "pgbouncer"),
        ("sslmode", "parameter"),
        ("sslmode=", "sslmode"),
        ("ssl=", "ssl"),
        ("sslrootcert=", "sslrootcert"),
        ("target_session_attrs=", "target_session_attrs"),
        ("ssl=require&sslmode=disable", "contradict"),
        ("sslmode=disable&ssl=true", "contradict"),
        ("ssl=false&sslmode=require", "contradict"),
        ("ssl=verify-full&sslmode=require", "contradict"),
        ("sslmode=require&sslmode=disable", "twice"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "ssl_max_protocol_version"),
        ("min_size=3", "min_size"),
        ("port=1,2,3", "port"),
    ],
)
def test_what_cannot_be_kept_is_named(query: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read(f"h1,h2/d?{query}")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGCHANNELBINDING", "require"),
        ("PGSERVICE", "x"),
        ("PGSSLMODE", "full"),
        ("PGSSLCERT", "/nowhere"),
    ],
)
def test_variables_that_cannot_be_kept_are_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        read("h/d", **{variable: value})


def test_what_agrees_is_no_contradiction() -> None:
    assert read("h/d?ssl=true&sslmode=verify-full").tls.mode == "verify-full"
    assert read("h/d?ssl=require&sslmode=require").tls.mode == "require"
    assert read("h/d?sslmode=require&sslmode=require").tls.mode == "require"
    assert read("h/d?password=&options=").password is None
    assert read("h/d?ssl=require", PGSSLMODE="disable").tls.mode == "require", "the address outranks it"


@pytest.mark.parametrize("rest", ["h", "h/", "h:x/d", "h:70000/d", "::1/d", "h1:1,h2:x/d"])
def test_addresses_that_are_none(rest: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(rest)


def test_errors_repeat_no_value() -> None:
    for query in (
        "sslmode=hunter2",
        "sslrootcert=hunter2",
        "channel_binding=hunter2",
        "connect_timeout=hunter2",
    ):
        with pytest.raises(ValueError, match=r".") as told:
            read(f"u:hunter2@h/d?{query}")
        assert "hunter2" not in str(told.value)


def test_certificates_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root, key = tmp_path / "root", tmp_path / "key"
    certificate, private = self_signed()
    root.write_bytes(certificate)
    key.write_bytes(private)
    check(f"postgresql://h/d?sslmode=verify-full&sslrootcert={root}&sslcert={root}&sslkey={key}")
    check("postgresql://h/d?sslrootcert=system")
    check("postgresql://h/d?sslmode=require")
    root_less = "postgresql://h/d?sslmode=verify-full"
    with pytest.raises(ValueError, match="sslrootcert"):
        check(root_less)
    with pytest.raises(ValueError, match="sslrootcert"):
        check(f"{root_less}&sslrootcert={key}")
    with pytest.raises(ValueError, match="sslcert"):
        check(f"{root_less}&sslrootcert={root}&sslcert={root}&sslkey={root}")
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(certificate)
    check(root_less)

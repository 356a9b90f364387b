"""The command line, as a person or a script meets it: output, errors, status."""

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner

from server.cli import COMMANDS, main
from server.config import Settings
from server.config_names import misspelt
from server.contract import VERSION
from storage.database import Database
from storage.records import SessionRecord
from storage.sessions import Sessions
from tests.server.test_tokens import KEY
from tests.support.nursery import run_command

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}, folder)


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from server.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'sqlalchemy', 'starlette', 'socketio', 'asyncio', 'jwt', 'rich', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr.strip() == "[]"
    for name in ("check-config", "migrate", "token", "serve"):
        assert name in done.stdout


def names() -> list[str]:
    return sorted(path.stem.replace("_", "-") for path in COMMANDS.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", names())
def test_every_command_has_help_with_examples(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"], prog_name="python -m server")
    assert shown.exit_code == 0, shown.output
    assert "Example" in shown.output
    listed = CliRunner().invoke(main, ["--help"]).output
    line = next(line for line in listed.splitlines() if line.split()[:1] == [name])
    assert len(line.split()) > 2, "its line in the list says what it does"


def test_an_unknown_command() -> None:
    shown = CliRunner().invoke(main, ["srve"])
    assert shown.exit_code == 2
    assert "No such command" in shown.output


def test_token_prints_a_token_and_nothing_else(tmp_path: Path) -> None:
    done = run(
        tmp_path, "token", "--sub", "7", "--role", "agent", "--name", "A", "--sessions", "s1,s2",
        "--avatar-url", "https://example.com/a.png",
        "--sessions", "s3", "--session-role", "member", "--ttl", "2h", JWT_SECRET_KEY=KEY,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    claims = jwt.decode(done.stdout.strip(), KEY, algorithms=["HS256"])
    assert claims.pop("exp") - time.time() == pytest.approx(7200, abs=60)
    claims.pop("iat")
    assert claims == {
        "sub": "7",
        "role": "agent",
        "name": "A",
        "avatar_url": "https://example.com/a.png",
        "sessions": ["s1", "s2", "s3"],
        "session_role": "member",
    }
    assert "expires" in done.stderr


@pytest.mark.parametrize("ttl", ["0", "-5", "1w", "soon", ""])
def test_token_wants_a_duration(ttl: str) -> None:
    shown = CliRunner().invoke(main, ["token", "--sub", "alice", "--ttl", ttl], env={"JWT_SECRET_KEY": KEY})
    assert shown.exit_code == 2
    assert "30m" in shown.output


def test_token_takes_the_development_key_where_there_is_one(tmp_path: Path) -> None:
    none = run(tmp_path, "token", "--sub", "alice")
    assert none.returncode == 1
    assert "JWT_SECRET_KEY: is not set" in none.stderr
    assert none.stdout == ""
    assert not (tmp_path / "data").exists()
    first = run(tmp_path, "token", "--sub", "alice", DEBUG="true")
    key = (tmp_path / "data" / "dev-secret").read_text()
    for done in (first, run(tmp_path, "token", "--sub", "alice")):
        assert jwt.decode(done.stdout.strip(), key, algorithms=["HS256"])["sub"] == "alice"
    wrong = run(tmp_path, "token", "--sub", "alice", JWT_SECRET_KEY="short")
    assert wrong.returncode == 1, "a key that was given is never passed over"


def test_check_config(tmp_path: Path) -> None:
    good = run(
        tmp_path, "check-config", JWT_SECRET_KEY=KEY, PORT="9000", DATABASE_URL="postgres://u:hunter2@db/chat",
        CORS_ORIGINS="https://a.example",
    )  # fmt: skip
    assert good.returncode == 0
    assert good.stdout.splitlines() == [
        "SERVICE_PORT=9000",
        "CORS_ORIGINS=https://a.example",
        "DATABASE_URL=postgresql://***@db/chat",
        "JWT_SECRET_KEY=(set)",
        "SECRET_KEY=(set)",
    ]
    assert "hunter2" not in good.stdout + good.stderr
    everything = run(tmp_path, "check-config", "--all", JWT_SECRET_KEY=KEY)
    assert "WS_PING_TIMEOUT=20" in everything.stdout.splitlines()
    assert len(everything.stdout.splitlines()) > 60
    bad = run(tmp_path, "check-config", PORT="x", LOG_LEVEL="loud")
    assert bad.returncode == 1
    assert bad.stdout == ""
    assert [line.split(":")[0].strip() for line in bad.stderr.splitlines()[1:]] == [
        "PORT",
        "LOG_LEVEL",
        "JWT_SECRET_KEY",
    ]
    assert "Traceback" not in bad.stderr


def test_migrate_needs_no_key(tmp_path: Path) -> None:
    done = run(tmp_path, "migrate")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "parley.db").is_file()
    revision = done.stdout.strip()
    assert run(tmp_path, "migrate", "--current").stdout.strip() == revision
    assert run(tmp_path, "migrate").stdout.strip() == revision
    assert run(tmp_path, "migrate", "--down", "base").stdout.strip() == "empty"
    wrong = run(tmp_path, "migrate", "--down", "zzz")
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr


def test_migrate_tells_what_is_wrong_without_the_password(tmp_path: Path) -> None:
    done = run(tmp_path, "migrate", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:9/chat")
    assert done.returncode == 1
    assert done.stderr.startswith("cannot migrate: ")
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
    assert run(tmp_path, "migrate", DATABASE_URL="mysql://h/d").stderr.count("DATABASE_URL") == 1


async def stored(database_url: str, *ids: str) -> None:
    database = Database(database_url)
    await database.connect()
    now = datetime.now(UTC)
    for number, session_id in enumerate(ids):
        record = SessionRecord(
            session_id=session_id,
            trace_id=f"trace_{session_id}",
            user_id="alice" if number else "bob",
            agent_id=None,
            title="Größe",
            status="active",
            metadata={"n": number},
            ttl_hours=24.0,
            created_at=now,
            updated_at=now,
            last_activity=now + timedelta(seconds=number),
            expires_at=now + timedelta(hours=-1 if session_id == "sess_old" else 24),
        )
        await Sessions(database).create(record)
    await database.disconnect()


def test_sessions(tmp_path: Path, database_url: str) -> None:
    asyncio.run(stored(database_url, "sess_old", "sess_a", "sess_b"))

    def sessions(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(tmp_path, "sessions", *arguments, DATABASE_URL=database_url)

    listed = [json.loads(line) for line in sessions("list", "--json").stdout.splitlines()]
    assert [(row["session_id"], row["status"]) for row in listed] == [
        ("sess_b", "active"),
        ("sess_a", "active"),
        ("sess_old", "expired"),
    ]
    table = sessions("list", "--status", "active", "--user", "alice", "--limit", "1")
    assert "sess_b" in table.stdout and "sess_a" not in table.stdout
    assert table.stderr == "1 of 2\n"

    shown = json.loads(sessions("show", "sess_a").stdout)
    assert (shown["title"], shown["metadata"], shown["user_id"]) == ("Größe", {"n": 1}, "alice")

    assert sessions("end", "sess_a").stdout == "sess_a is archived\n"
    assert sessions("end", "sess_a").returncode == 0, "twice is once"
    shown = json.loads(sessions("show", "sess_a").stdout)
    assert shown["status"] == "archived" and shown["ended_at"]
    assert "archived" in sessions("extend", "sess_a").stderr

    assert sessions("extend", "sess_old", "--hours", "2").returncode == 0
    assert json.loads(sessions("show", "sess_old").stdout)["status"] == "active"

    for missing in (sessions("show", "sess_x"), sessions("end", "sess_x"), sessions("extend", "sess_x")):
        assert (missing.returncode, missing.stderr) == (1, "there is no session sess_x\n")


def test_cleanup(tmp_path: Path, sqlite_url: str) -> None:
    asyncio.run(stored(sqlite_url, "sess_old", "sess_a"))

    def cleanup(*arguments: str, days: str = "0") -> str:
        done = run(tmp_path, "cleanup", *arguments, DATABASE_URL=sqlite_url, SESSION_RETENTION_DAYS=days)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert cleanup() == "1 ended, 0 erased\n"
    assert cleanup() == "0 ended, 0 erased\n"
    assert cleanup("--dry-run", days="30") == "0 to erase\n"
    assert cleanup("--dry-run", days="0.000001") == "1 to erase\n"
    assert cleanup(days="0.000001") == "0 ended, 1 erased\n"
    assert run(tmp_path, "sessions", "show", "sess_old", DATABASE_URL=sqlite_url).returncode == 1
    assert run(tmp_path, "sessions", "show", "sess_a", DATABASE_URL=sqlite_url).returncode == 0


def test_sessions_without_a_schema(tmp_path: Path) -> None:
    done = run(tmp_path, "sessions", "list")
    assert done.returncode == 1
    assert "python -m server migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_tells_what_travels_openly(tmp_path: Path) -> None:
    s3 = {"FILE_STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "b", "JWT_SECRET_KEY": KEY}
    done = run(tmp_path, "check-config", S3_ENDPOINT_URL="http://minio:9000", **s3)
    assert done.returncode == 0
    assert "note: S3_ENDPOINT_URL" in done.stderr
    for endpoint in ("https://minio:9000", "http://127.0.0.1:9000"):
        assert "note:" not in run(tmp_path, "check-config", S3_ENDPOINT_URL=endpoint, **s3).stderr
    redis = "rediss://redis:6379/0?ssl_cert_reqs=none"
    assert "note: REDIS_URL" in run(tmp_path, "check-config", REDIS_URL=redis, JWT_SECRET_KEY=KEY).stderr


def test_version() -> None:
    shown = CliRunner().invoke(main, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"parley {VERSION}\n")


def test_check_config_finds_the_development_key(tmp_path: Path) -> None:
    assert run(tmp_path, "check-config").returncode == 1
    run(tmp_path, "token", "--sub", "alice", DEBUG="true")  # makes it, as `make run` does
    beside = run(tmp_path, "check-config")
    assert beside.returncode == 0, beside.stderr
    assert "DEBUG=true" in beside.stdout
    assert "JWT_SECRET_KEY is not set" in beside.stderr
    assert (tmp_path / "data" / "dev-secret").read_text() not in beside.stdout + beside.stderr


def test_check_config_tells_names_that_are_nearly_a_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_ULR=redis://x\nSOMETHING_ELSE=1\n")
    done = run(tmp_path, "check-config", JWT_SECRET_KEY=KEY, PARLEY_DATABASE_URL="x", service_port="1")
    notes = [line for line in done.stderr.splitlines() if "is no setting" in line]
    assert [(line.split()[1], line.split()[-1]) for line in notes] == [
        ("PARLEY_DATABASE_URL", "DATABASE_URL?"),
        ("REDIS_ULR", "REDIS_URL?"),
        ("service_port", "SERVICE_PORT?"),
    ]


def test_the_environment_of_ordinary_machines_is_not_remarked_upon() -> None:
    common = """AWS_ENDPOINT_URL AWS_REGION AWS_SESSION_TOKEN BASH CI COLORTERM DEBIAN_FRONTEND DISPLAY
    GITHUB_TOKEN HOME HOSTNAME HOSTTYPE HTTPS_PROXY HTTP_PROXY KUBERNETES_PORT KUBERNETES_SERVICE_HOST LANG
    KUBERNETES_SERVICE_PORT LOGNAME MAIL NODE_ENV NODE_OPTIONS NODE_PATH NO_PROXY OLDPWD OPENAI_ORG_ID PARLEY
    PARLEY_PORT PARLEY_PORT_8003_TCP PARLEY_SERVICE_HOST PARLEY_SERVICE_PORT PARLEY_TOKEN PATH
    POSTGRES_PASSWORD POSTGRES_PORT POSTGRES_USER PWD REDIS_HOST REDIS_PASSWORD REDIS_PORT
    REDIS_SERVICE_PORT SHELL SSH_AUTH_SOCK SSL_CERT_FILE SSL_CERT_DIR TERM TMPDIR TZ USER VIRTUAL_ENV"""
    known = ("PORT", *(name.upper() for name in Settings.model_fields))
    assert list(misspelt(common.split(), known)) == []

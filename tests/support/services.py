"""PostgreSQL, Redis, nginx, HAProxy, Caddy and Apache of the tests' own: private ports, temporary folders.

A program that is not installed is a failure with a clear message, never a skip.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Self

import psutil

from tests.support.processes import end, free_port, kill_tree, listening, spawn, wait_until

_INITDB = [
    "-U",
    "postgres",
    "-A",
    "trust",
    "-E",
    "UTF8",
    "--locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
]
#: What the first cluster of this process began with, to be copied: initdb takes a second of a processor.
_filled: list[tempfile.TemporaryDirectory[str]] = []
_PSQL = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]


def program(name: str, *folders: str) -> str:
    """The path of an installed program, looked for in PATH and then in `folders` (globs)."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    for pattern in folders:
        newest_first = sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
        places += [str(place) for place in newest_first]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    raise RuntimeError(f"the tests need {name}, which is not installed: run scripts/ensure_services")


def library(name: str, package: str) -> Path:
    """An installed shared library that a process may be started with."""
    for pattern in ("usr/lib/*/faketime", "usr/lib/faketime", "usr/local/lib/faketime", "usr/lib64/faketime"):
        for folder in sorted(Path("/").glob(pattern)):
            if (folder / name).exists():
                return folder / name
    raise RuntimeError(f"the tests need {package}, which is not installed: run scripts/ensure_services")


class Service:
    """One program with a folder and a port, which it keeps when it comes back."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"parley-{name}-"))
        self.log = self.folder / "log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        raise NotImplementedError

    def stop(self) -> None:
        """End it in an orderly way; `start` brings it back on the same port."""
        end(self.process)

    def kill9(self) -> None:
        """End it, and its children, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            kill_tree(self.process)

    def pause(self) -> None:
        """Connections stay open and are accepted by the kernel; nothing is answered."""
        for process in self._family():
            # A child may end while they are gone through.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _family(self) -> list[psutil.Process]:
        """The process and its children: PostgreSQL has one for each connection."""
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        try:
            end(self.process, wait=5)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class Postgres(Service):
    """A cluster with fsync and synchronous_commit on: what is tested is what survives a crash."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("postgres")
        self._env = {**os.environ, **(env or {})}
        self._settings = dict(settings or {})
        self._names = count(1)
        self._postgres = program("postgres", "/usr/lib/postgresql/*/bin")
        self._bin = Path(self._postgres).resolve().parent
        # PostgreSQL refuses to run as root: its files and processes then belong to `postgres`.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._data = self.folder / "data"
        self._data.mkdir()
        self.folder.chmod(0o711)
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._data, owner.pw_uid, owner.pw_gid)
        self._fill()

    def _fill(self) -> None:
        """Make the data folder's contents: those of an empty cluster, with one system identifier for all."""
        if not _filled:
            _filled.append(tempfile.TemporaryDirectory(prefix="parley-initdb-"))
            Path(_filled[0].name).chmod(0o711)
            self._run("initdb", "-D", str(self._data), *_INITDB)
            subprocess.run(["cp", "-a", str(self._data), f"{_filled[0].name}/data"], check=True)
        else:
            subprocess.run(["cp", "-a", f"{_filled[0].name}/data/.", str(self._data)], check=True)

    def _run(self, name: str, *words: str) -> None:
        """One of PostgreSQL's programs, as the user whose folder it is."""
        subprocess.run(
            [self.program(name), *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )

    def start(self) -> Self:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._data),
            "max_connections": "400",
            "shared_buffers": "64MB",
            "logging_collector": "off",
            **self._settings,
        }
        command = [self._postgres, "-D", str(self._data), "-p", str(self.port)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # SIGQUIT is PostgreSQL's immediate shutdown: its children go with it.
        self.process = spawn(
            command, log=self.log, env=self._env, cwd=Path("/"), user=self._user, death_signal=signal.SIGQUIT
        )
        wait_until(self._ready, self.process, self.log)
        return self

    def _ready(self) -> bool:
        try:
            status = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        assert self.process is not None
        return len(status) >= 8 and status[0] == str(self.process.pid) and status[7].strip() == "ready"

    def stop(self) -> None:
        """A fast shutdown: clients are cut off, what they had not committed is rolled back."""
        end(self.process, signal.SIGINT)

    def close(self) -> None:
        try:
            end(self.process, signal.SIGQUIT, wait=5)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def use_tls(self, certificate: bytes, key: bytes, *, clients: bytes | None = None) -> None:
        """Before `start`. `clients`: who connects over TCP shows a certificate of this authority."""
        self._write("server.crt", certificate)
        self._write("server.key", key)
        self._settings["ssl"] = "on"
        if clients is not None:
            self._write("clients.crt", clients)
            self._write("pg_hba.conf", b"hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n")
            self._settings["ssl_ca_file"] = "clients.crt"

    def _write(self, name: str, content: bytes) -> None:
        file = self._data / name
        file.write_bytes(content)
        file.chmod(0o600)
        if self._user is not None:
            shutil.chown(file, self._user, self._user)

    def program(self, name: str) -> str:
        return str(self._bin / name)

    @property
    def socket_folder(self) -> Path:
        return self._data

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql; returns what it prints, unadorned."""
        done = subprocess.run(
            [self._bin / "psql", *_PSQL, "-d", self.url(database), "-c", statement],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def create_database(self, template: str | None = None) -> str:
        """A new database, empty or a copy of `template`; returns its name."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}{self._copying()}" if template else ""))
        return name

    def _copying(self) -> str:
        """File by file, as releases before 15 do anyway: page by page takes several times as long."""
        release = int((self._data / "PG_VERSION").read_text())
        return " STRATEGY file_copy" if release >= 15 else ""

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Standby(Postgres):
    """Follows a running `Postgres`, asynchronously, until it is promoted."""

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        super().__init__()

    def _fill(self) -> None:
        self._data.chmod(0o700)
        way = f"host=127.0.0.1 port={self._primary.port} user=postgres"
        words = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--write-recovery-conf")
        self._run("pg_basebackup", "-D", str(self._data), "-d", way, *words)

    def _ready(self) -> bool:
        return super()._ready() and "walreceiver" in self.sql("SELECT backend_type FROM pg_stat_activity")

    def fall_behind(self) -> None:
        """It follows no more: what is committed from here on it will not have."""
        self.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.sql("SELECT pg_reload_conf()")
        while self._primary.sql("SELECT count(*) FROM pg_stat_replication") != "0":
            time.sleep(0.01)

    def promote(self) -> None:
        """It takes writes when this returns, on a timeline of its own."""
        self.sql("SELECT pg_promote(true, 20)")


class PgBouncer(Service):
    """Before a `Postgres`; `mode` is its pool_mode: "session" or "transaction"."""

    def __init__(self, cluster: Postgres, mode: str, *, size: int = 5) -> None:
        super().__init__("pgbouncer")
        self._config = self.folder / "pgbouncer.ini"
        self._config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={cluster.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={self.port}\nunix_socket_dir=\n"
            f"auth_type=any\npool_mode={mode}\ndefault_pool_size={size}\nmax_client_conn=500\n"
        )
        self.folder.chmod(0o755)
        self._user = "postgres" if os.geteuid() == 0 else None

    def start(self) -> Self:
        command = [program("pgbouncer"), str(self._config)]
        self.process = spawn(command, log=self.log, user=self._user, death_signal=signal.SIGTERM)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


def fetched(name: str) -> str:
    """A server that `make test` has fetched from PyPI: "redis-6.2" or "valkey-9"."""
    found = Path(sys.prefix) / "stores" / name
    if not found.exists():
        raise RuntimeError(f"the tests need {name}, which is not there: run scripts/fetch_stores")
    return str(found)


class Redis(Service):
    """Nothing is kept on disk: a stopped Redis comes back empty, on the same port."""

    def __init__(self, executable: str | None = None) -> None:
        super().__init__("redis")
        self._redis = executable or program("redis-server")

    def start(self) -> Self:
        command = [self._redis, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no"]
        self.process = spawn(command, log=self.log)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cli(self, *words: str) -> str:
        """Run one Redis command; returns what redis-cli prints."""
        command = [program("redis-cli"), "-p", str(self.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Sentinel(Service):
    """One that watches `first` and fails over to `second`, which follows it. Their failures are found in half
    a second, and one voice decides.
    """

    def __init__(self, first: Redis, second: Redis) -> None:
        super().__init__("sentinel")
        self.first, self.second = first, second
        for redis in (first, second):
            redis.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        second.cli("REPLICAOF", "127.0.0.1", str(first.port))
        self._config = self.folder / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {first.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )

    def start(self) -> Self:
        self.process = spawn([program("redis-server"), str(self._config), "--sentinel"], log=self.log)
        wait_until(lambda: listening(self.port) and self._complete(), self.process, self.log)
        return self

    def _complete(self) -> bool:
        """It knows the replica, which has all that the master has."""
        follows = "master_link_status:up" in self.second.cli("INFO", "replication")
        return follows and str(self.second.port) in self.asked("replicas", "mymaster")

    def asked(self, *words: str) -> str:
        command = [program("redis-cli"), "-p", str(self.port), "SENTINEL", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/0/mymaster"

    def fall_behind(self) -> None:
        """The replica hears its master no more: what is written from here on it will not have."""
        self.first.cli("ACL", "SETUSER", "default", "-psync", "-sync")
        self.first.cli("CLIENT", "KILL", "TYPE", "replica")

    def fail_over(self) -> None:
        """The master dies; returns when the replica is the master, and Sentinel says so."""
        self.first.kill9()
        deadline = time.monotonic() + 30
        while str(self.second.port) not in self.asked("get-master-addr-by-name", "mymaster"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no failover:\n{self.log.read_text()}")
            time.sleep(0.01)


class _FrontEnd(Service):
    """A load balancer: `config` is its configuration, with `{port}` and `{folder}` to fill in."""

    def __init__(self, name: str, config: str) -> None:
        super().__init__(name)
        self.config = self.folder / f"{name}.conf"
        text = config.replace("{port}", str(self.port)).replace("{folder}", str(self.folder))
        self.config.write_text(text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Nginx(_FrontEnd):
    def __init__(self, config: str) -> None:
        super().__init__("nginx", config)

    def start(self) -> Self:
        command = [program("nginx"), "-p", str(self.folder), "-c", str(self.config), "-e", str(self.log)]
        command += ["-g", f"daemon off; pid {self.folder}/pid;"]
        self.process = spawn(command, log=self.log, death_signal=signal.SIGTERM)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self


class Haproxy(_FrontEnd):
    def __init__(self, config: str) -> None:
        super().__init__("haproxy", config)

    def start(self) -> Self:
        self.process = spawn([program("haproxy"), "-db", "-f", str(self.config)], log=self.log)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self


class _Abrupt(_FrontEnd):
    """One whose orderly end waits for its clients."""

    def close(self) -> None:
        self.kill9()
        super().close()


class Caddy(_Abrupt):
    def __init__(self, config: str) -> None:
        super().__init__("caddy", config)

    def start(self) -> Self:
        command = [program("caddy"), "run", "--config", str(self.config), "--adapter", "caddyfile"]
        # What it keeps of its own: certificates, its last configuration.
        env = {**os.environ, "HOME": str(self.folder), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
        self.process = spawn(command, log=self.log, env=env)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self


class Apache(_Abrupt):
    """With the event module for its processes, and room for a few hundred connections."""

    _MODULES = (
        "mpm_event authz_core alias headers proxy proxy_http proxy_balancer lbmethod_byrequests slotmem_shm"
    )

    def __init__(self, config: str) -> None:
        self._apache = program("apache2", "/usr/sbin")
        loads = [
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
            for name in self._MODULES.split()
        ]
        # Started by root its children are another user, who may read the folder.
        main = (
            'ServerRoot "{folder}"\nPidFile pid\nErrorLog log\nServerName localhost\nMutex pthread default\n'
        )
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        room = "ThreadsPerChild 64\nMaxRequestWorkers 256\nStartServers 1\n"
        log = 'LogFormat "%>s" status\nCustomLog access.log status\nListen 127.0.0.1:{port}\n'
        super().__init__("apache", "".join(loads) + main + user + room + log + config)

    def start(self) -> Self:
        command = [self._apache, "-D", "FOREGROUND", "-f", str(self.config)]
        self.process = spawn(command, log=self.log, death_signal=signal.SIGTERM)
        wait_until(lambda: listening(self.port), self.process, self.log)
        return self

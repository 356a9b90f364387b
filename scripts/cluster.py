"""`make cluster`: three nodes, Redis, PostgreSQL and nginx on this machine, as deploy/Procfile.cluster says,
and one of the workers in examples/, whose answers outlive the nodes.

A part that ends is started again, so that each may be killed to see what happens. Everything lives in a
temporary folder and is gone at the end. PORT (default 8080) is nginx's; a value that the environment gives
wins over the ones here.
"""

import contextlib
import http.client
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
NODES = ("node1", "node2", "node3")
#: Seconds until a part must be there.
PATIENCE = 60.0
#: Seconds before a part that has ended is started again: long enough to be seen, and for PostgreSQL's own
#: children to notice that their parent is gone.
PAUSE = 1.0
PEOPLE = ("alice", "bob")
#: Runs the agent of the same name.
WORKER = "worker"

NGINX = """\
worker_processes 1;
pid nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    %s
    %s
}
"""


class Cluster:
    """Starts in the Procfile's order, stops in reverse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, str] = {}
        self.port = int(os.environ.get("PORT") or 8080)
        self.ports = {name: free_port() for name in (*NODES, "redis", "postgres")}
        # PostgreSQL does not run as root.
        self.owner = "postgres" if os.geteuid() == 0 else None
        password = secrets.token_hex(16)
        self.env = {
            "DEBUG": "true",
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "SECRET_KEY": secrets.token_hex(32),
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "WS_CREATE_SESSIONS": "true",
            "CORS_ORIGINS": f"http://127.0.0.1:{self.port},http://localhost:{self.port}",
            "LOG_FORMAT": "console",
            "LOG_LEVEL": "WARNING",
            "FILE_STORAGE_PATH": str(folder / "files"),
            **os.environ,
            "PATH": os.pathsep.join([os.environ.get("PATH", ""), *programs()]),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "CLUSTER": str(folder),
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.ports['postgres']}/parley",
            "REDIS_URL": f"redis://parley:{password}@127.0.0.1:{self.ports['redis']}/0",
            "REDIS_PASSWORD": password,
            "REDIS_PORT": str(self.ports["redis"]),
            "POSTGRES_PORT": str(self.ports["postgres"]),
            **{f"{name.upper()}_PORT": str(self.ports[name]) for name in NODES},
        }
        self.env.pop("PORT", None)

    # --- starting

    def start(self) -> None:
        self.make_database()
        self.write_nginx()
        self.lay_out_client()
        lines = (ROOT / "deploy" / "Procfile.cluster").read_text().splitlines()
        for line in lines:
            name, _, command = line.partition(": ")
            if name == NODES[0]:
                self.run(
                    "createdb", "-h", "127.0.0.1", "-p", self.env["POSTGRES_PORT"], "-U", "postgres", "parley"
                )
                self.run(sys.executable, "-m", "server", "migrate")
            self.commands[name] = command
            self.launch(name)
            if name in ("postgres", "redis"):
                self.wait(name, lambda name=name: listening(self.ports[name]))
        for name in NODES:
            self.wait(name, lambda name=name: ready(self.ports[name]))
        self.wait("nginx", lambda: ready(self.port))
        self.hire()

    def hire(self) -> None:
        """A worker that comes in by nginx, as any client does."""
        agent = self.made("/api/chat/agents", {"name": WORKER.capitalize(), "kind": "remote"})
        self.env["AGENT_TOKEN"] = self.token(str(agent["id"]), "--role", "agent")
        script = ROOT / "examples" / "worker-python" / "worker.py"
        client = shlex.quote(str(ROOT / "clients" / "python"))
        run = f"$PYTHON {shlex.quote(str(script))} http://127.0.0.1:{self.port}"
        self.commands[WORKER] = f"PYTHONPATH={client} exec {run}"
        self.launch(WORKER)

    def made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a POST by the application's backend answers."""
        token = self.token("backend", "--role", "service")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        if answer.status != 201:
            raise SystemExit(f"POST {path}: {answer.status} {said}")
        found: dict[str, Any] = json.loads(said)
        return found

    def token(self, sub: str, *more: str) -> str:
        command = [sys.executable, "-m", "server", "token", "--sub", sub, "--ttl", "12h", *more]
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def launch(self, name: str) -> None:
        owner: dict[str, Any] = {}
        if name == "postgres" and self.owner:
            owner = {"user": self.owner, "group": self.owner, "extra_groups": []}
        process = subprocess.Popen(
            ["sh", "-c", self.commands[name]],
            env=self.env,
            cwd=self.folder,
            # A node's standard output is its welcome, with its own address: the cluster's says more.
            stdout=subprocess.DEVNULL if name in NODES else subprocess.PIPE,
            stderr=subprocess.PIPE if name in NODES else subprocess.STDOUT,
            # Ctrl-C is this program's alone: it stops the parts in order.
            start_new_session=True,
            **owner,
        )
        self.running[name] = process
        threading.Thread(target=echo, args=(name, process), daemon=True).start()

    def lay_out_client(self) -> None:
        """What the playground and the chat run, where `make cluster` has fetched it."""
        for name in ("vendor", "chat"):
            if (ROOT / "data" / name).is_dir():
                shutil.copytree(ROOT / "data" / name, self.folder / "data" / name)

    def make_database(self) -> None:
        data = self.folder / "postgres"
        data.mkdir()
        self.folder.chmod(0o711)
        if self.owner:
            entry = pwd.getpwnam(self.owner)
            os.chown(data, entry.pw_uid, entry.pw_gid)
        self.run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", owner=self.owner)

    def write_nginx(self) -> None:
        upstream = (ROOT / "deploy" / "nginx" / "upstream.conf").read_text()
        for written, name in zip((8003, 8004, 8005), NODES, strict=True):
            upstream = upstream.replace(f"127.0.0.1:{written}", f"127.0.0.1:{self.ports[name]}")
        server = (ROOT / "deploy" / "nginx" / "parley.conf").read_text()
        server = server.replace("listen 8080;", f"listen 127.0.0.1:{self.port};")
        (self.folder / "nginx.conf").write_text(NGINX % (upstream, server))

    def run(self, *command: str, owner: str | None = None) -> None:
        who: dict[str, Any] = {"user": owner, "group": owner, "extra_groups": []} if owner else {}
        done = subprocess.run(
            command, env=self.env, cwd="/" if owner else self.folder, capture_output=True, **who
        )
        if done.returncode:
            raise SystemExit(f"{command[0]}: {done.stderr.decode().strip()}")

    def wait(self, name: str, there: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not there():
            for other, process in self.running.items():
                if process.poll() is not None:
                    raise SystemExit(f"{other} ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} did not come up")
            time.sleep(0.05)

    # --- stopping

    def watch(self) -> NoReturn:
        """Whatever ends is started again."""
        while True:
            for name, process in list(self.running.items()):
                if process.poll() is not None:
                    self.revive(name, process)
            time.sleep(0.2)

    def revive(self, name: str, process: subprocess.Popen[bytes]) -> None:
        code = process.returncode
        how = f"killed by signal {-code}" if code < 0 else f"done with {code}"
        # nginx's workers outlive their master, and keep its port.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(PAUSE)
        self.launch(name)
        print(
            f"{name} (pid {process.pid}) was {how}: started again as pid {self.running[name].pid}", flush=True
        )

    def stop(self) -> None:
        for name, process in reversed(self.running.items()):
            if process.poll() is None:
                process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
            if name not in NODES[1:]:  # the nodes drain together
                self.reap(name, process)
        for name, process in self.running.items():
            self.reap(name, process)

    def reap(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"{name} had to be killed", file=sys.stderr)


def programs() -> list[str]:
    """Folders that are not in every PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [str(folder) for folder in found] + ["/usr/sbin", "/usr/local/sbin"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def echo(name: str, process: subprocess.Popen[bytes]) -> None:
    said = process.stderr or process.stdout
    assert said is not None
    for line in said:
        text = re.sub(r"\s+$", "", line.decode(errors="replace"))
        if name in NODES or process.poll() is not None:
            print(f"{name:<8} | {text}", flush=True)


def welcome(cluster: Cluster) -> str:
    tokens = {sub: cluster.token(sub) for sub in PEOPLE}
    base = f"http://127.0.0.1:{cluster.port}"
    lines = ["", f"Parley serves {base} from three nodes", "", "Playground, a window for each:"]
    lines += [f"  {sub:<8} {base}/#token={token}" for sub, token in tokens.items()]
    lines += ["", "Kill any of these (kill -9 PID): it is started again, and nothing is lost."]
    ports = {name: f"port {port}" for name, port in cluster.ports.items()}
    ports |= {"nginx": f"port {cluster.port}", WORKER: "answers as the agent Worker"}
    lines += [f"  {name:<8} pid {process.pid:<8} {ports[name]}" for name, process in cluster.running.items()]
    lines += [
        "",
        f"  curl -s {base}/api/chat/sessions \\",
        f"    -H 'Authorization: Bearer {tokens[PEOPLE[0]]}' \\",
        "    -H 'Content-Type: application/json' -d '{\"title\": \"First\"}'",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    for name in ("initdb", "redis-server", "nginx"):
        if shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *programs()])) is None:
            raise SystemExit(f"make cluster needs {name}: run scripts/ensure_services")
    folder = Path(tempfile.mkdtemp(prefix="parley-cluster-"))
    cluster = Cluster(folder)

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)  # a shell without job control has its background jobs ignore it
    try:
        cluster.start()
        print(welcome(cluster), flush=True)
        cluster.watch()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

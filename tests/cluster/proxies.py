"""The configurations in deploy/ in front of a test's nodes: its addresses put in, nothing else changed."""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.support.server import ROOT, Server
from tests.support.services import Apache, Caddy, Haproxy, Nginx

DEPLOY = ROOT / "deploy"
Front = Nginx | Haproxy | Caddy | Apache

_NGINX = """\
worker_processes 1;
events { worker_connections 4096; }
http {
    log_format told '$msec "$request" $status $upstream_status';
    access_log {folder}/access.log told;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
%UPSTREAM%
%SERVER%
}
"""


def _with_ports(text: str, nodes: Sequence[Server]) -> str:
    for port, node in zip((8003, 8004, 8005), nodes, strict=True):
        assert f"127.0.0.1:{port}" in text
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{node.port}")
    return text


def nginx(nodes: Sequence[Server], upstream: str = "upstream.conf") -> Nginx:
    folder = DEPLOY / "nginx"
    server = (folder / "parley.conf").read_text()
    assert "listen 8080;" in server
    server = server.replace("listen 8080;", "listen 127.0.0.1:{port};")
    named = _with_ports((folder / upstream).read_text(), nodes)
    # The names in braces are filled in by the service.
    return Nginx(_NGINX.replace("%UPSTREAM%", named).replace("%SERVER%", server))


def nginx_below(path: str, node: Server, *, strips: bool) -> Nginx:
    """deploy/nginx/parley.conf, below `path`."""
    text = (DEPLOY / "nginx" / "parley.conf").read_text()
    for old, new in (
        ("listen 8080;", "listen 127.0.0.1:{port};"),
        ("location / {", f"location {path}/ {{"),
        ("proxy_pass http://parley;", f"proxy_pass http://parley{'/' if strips else ''};"),
        ("X-Forwarded-Proto $scheme;", "X-Forwarded-Proto https;"),
    ):
        assert old in text
        text = text.replace(old, new)
    upstream = f"upstream parley {{ server 127.0.0.1:{node.port}; keepalive 8; }}"
    return Nginx(_NGINX.replace("%UPSTREAM%", upstream).replace("%SERVER%", text))


def nginx_without_websockets(node: Server) -> Nginx:
    """deploy/nginx/parley.conf as an older proxy would have it: `Upgrade` is not passed on."""
    text = (DEPLOY / "nginx" / "parley.conf").read_text()
    for old, new in (
        ("listen 8080;", "listen 127.0.0.1:{port};"),
        ("Upgrade $http_upgrade;", 'Upgrade "";'),
        ("Connection $parley_connection;", 'Connection "";'),
    ):
        assert old in text
        text = text.replace(old, new)
    upstream = f"upstream parley {{ server 127.0.0.1:{node.port}; keepalive 8; }}"
    return Nginx(_NGINX.replace("%UPSTREAM%", upstream).replace("%SERVER%", text))


def haproxy(nodes: Sequence[Server], config: str = "haproxy.cfg") -> Haproxy:
    text = _with_ports((DEPLOY / "haproxy" / config).read_text(), nodes)
    assert "bind :8080" in text
    text = text.replace("bind :8080", "bind 127.0.0.1:{port}")
    # acl braces are haproxy's own: only the two names are filled in
    return Haproxy(text.replace("global\n", "global\n    stats socket {folder}/stats\n"))


def caddy(nodes: Sequence[Server]) -> Caddy:
    text = _everywhere((DEPLOY / "caddy" / "Caddyfile").read_text(), nodes)
    return Caddy(_caddy_here(text))


def caddy_below(path: str, node: Server) -> Caddy:
    """deploy/caddy/Caddyfile, below `path`, which it keeps."""
    text = _caddy_here(_everywhere((DEPLOY / "caddy" / "Caddyfile").read_text(), [node] * 3))
    assert "\thandle {\n" in text
    text = text.replace("\thandle {\n", f"\thandle {path}/* {{\n", 1)
    # The client's scheme, as a proxy with TLS would say it.
    return Caddy(text.replace("\tlb_policy", "\theader_up X-Forwarded-Proto https\n\tlb_policy", 1))


def _caddy_here(text: str) -> str:
    for old, new in (
        ("\n{\n", "\n{\n\tadmin off\n\tauto_https off\n"),
        (":8080 {\n", "http://127.0.0.1:{port} {\n\tlog {\n\t\toutput file {folder}/access.log\n\t}\n"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    return text


def apache(nodes: Sequence[Server]) -> Apache:
    text = _with_ports((DEPLOY / "apache" / "parley.conf").read_text(), nodes)
    assert "*:8080" in text
    return Apache(text.replace("*:8080", "127.0.0.1:{port}"))


def apache_below(path: str, node: Server) -> Apache:
    """deploy/apache/parley.conf, below `path`, which it takes away."""
    text = (DEPLOY / "apache" / "parley.conf").read_text()
    for old, new in (
        ("*:8080", "127.0.0.1:{port}"),
        ("ProxyPass / balancer://parley/", f"ProxyPass {path}/ balancer://parley/"),
        ("expr=%{REQUEST_SCHEME}", "https"),
    ):
        assert old in text
        text = text.replace(old, new)
    return Apache(_everywhere(text, [node] * 3))


def _everywhere(text: str, nodes: Sequence[Server]) -> str:
    """As `_with_ports`, for a file that names the nodes more than once, or one node for all."""
    for port, node in zip((8003, 8004, 8005), nodes, strict=True):
        assert f"127.0.0.1:{port}" in text
        text = re.sub(rf"127\.0\.0\.1:{port}\b", f"127.0.0.1:{node.port}", text)
    return text


def statuses(front: Front, cut: tuple[float, float] = (0.0, 0.0)) -> dict[str, int]:
    """How often each status (nginx), or class of statuses (haproxy: "4xx"), was answered. `cut`: from when
    to when (epoch seconds) no client was connected to nginx: what it answered then nobody got."""
    counts: dict[str, int] = {}
    if isinstance(front, Caddy | Apache):
        log = Path(front.folder, "access.log")
        for status in re.findall(
            r'(?:"status":|^)(\d+)', log.read_text() if log.exists() else "", re.MULTILINE
        ):
            counts[status] = counts.get(status, 0) + 1
        return counts
    if isinstance(front, Nginx):
        for line in Path(front.folder, "access.log").read_text().splitlines():
            found = re.search(r'^([\d.]+) .*" (\d{3}) (.*)$', line)
            if found:
                # A request that its client cut short is nginx's own 400, which nobody gets.
                status = found[2] if found[2] in found[3] or found[2] != "400" else "cut short"
                if cut[0] <= float(found[1]) <= cut[1]:
                    status = "to nobody"
                counts[status] = counts.get(status, 0) + 1
        return counts
    for row in _figures(front):
        if row.get("pxname") == "clients" and row.get("svname") == "FRONTEND":
            return {f"{n}xx": int(row[f"hrsp_{n}xx"]) for n in range(1, 6)}
    raise AssertionError("haproxy tells no figures")


def states(front: Haproxy, backend: str) -> set[str]:
    """What haproxy holds of the servers of one backend: "UP", "DOWN"."""
    rows = [row for row in _figures(front) if row.get("pxname") == backend]
    return {row["status"].split()[0] for row in rows if row["svname"] not in ("BACKEND", "FRONTEND")}


def _figures(front: Haproxy) -> list[dict[str, str]]:
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(front.folder / "stats"))
        control.sendall(b"show stat\n")
        data = b""
        while piece := control.recv(65536):
            data += piece
    lines = data.decode().lstrip("# ").splitlines()
    names = lines[0].split(",")
    return [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]

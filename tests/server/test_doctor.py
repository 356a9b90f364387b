"""The doctor names what is wrong with a proxy, and nothing else, against real servers."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.doctor.examine import Examination
from server.doctor.findings import MENDS, Finding
from server.doctor.wire import Target
from tests.server.broken_proxy import BrokenProxy
from tests.support.server import ROOT, Server

ORIGIN = "https://chat.example.com"
IDLE = 1.5


@pytest.fixture
def node(new_server: Callable[..., Server], sqlite_url: str) -> Server:
    # One ping every 2 s, so that a second's silence is the proxy's to bear.
    return new_server(sqlite_url, WS_HEARTBEAT_INTERVAL="2", PUBLIC_URL=ORIGIN)


async def examined(url: str, token: str | None, origin: str = ORIGIN) -> list[Finding]:
    async with asyncio.timeout(40):
        return await Examination(Target(url, token, origin), lambda _: None, IDLE).run()


def faults(findings: list[Finding]) -> set[str]:
    return {finding.fault for finding in findings if finding.state in ("fail", "warn")}


async def through(node: Server, *, origin: str = ORIGIN, targets: Any = None, **broken: Any) -> list[Finding]:
    async with BrokenProxy(targets or [node.port], **broken) as proxy:
        return await examined(proxy.url, node.token("alice"), origin)


async def test_a_good_proxy(node: Server) -> None:
    findings = await through(node)
    assert faults(findings) == set(), findings
    assert {finding.check for finding in findings if finding.state == "ok"} == {
        "reach",
        "ready",
        "clock",
        "token",
        "query",
        "polling",
        "stickiness",
        "upgrade",
        "origin",
        "events",
        "silence",
    }


async def test_the_patient_is_left_as_it_was(node: Server) -> None:
    await through(node)
    async with node.api("alice") as api:
        assert (await api.get("/api/chat/sessions")).json()["total"] == 0


async def test_no_upgrade_headers(node: Server) -> None:
    assert faults(await through(node, upgrade=False)) == {"no-upgrade"}


async def test_a_short_read_timeout(node: Server) -> None:
    findings = await through(node, read_timeout=0.8)
    assert faults(findings) == {"idle-timeout"}
    assert next(finding for finding in findings if finding.fault).text.count("0.8 s") == 1


async def test_buffered_event_streams(node: Server) -> None:
    assert faults(await through(node, buffer=True)) == {"sse-buffered"}


async def test_a_wrong_origin(node: Server) -> None:
    findings = await through(node, origin="https://app.example.com")
    assert faults(findings) == {"origin"}
    assert "https://app.example.com" in next(finding for finding in findings if finding.fault).text


async def test_no_stickiness_and_no_node_url(
    node: Server, new_server: Callable[..., Server], sqlite_url: str
) -> None:
    other = new_server(sqlite_url, WS_HEARTBEAT_INTERVAL="2", PUBLIC_URL=ORIGIN)
    assert faults(await through(node, targets=[node.port, other.port])) == {"not-sticky"}


async def test_a_stripped_query(node: Server) -> None:
    assert faults(await through(node, strip_query=True)) == {"query-stripped"}


async def test_a_stripped_authorization(node: Server) -> None:
    findings = await through(node, drop=["Authorization"])
    assert "authorization-stripped" in faults(findings)


async def test_a_stripped_origin(node: Server) -> None:
    assert faults(await through(node, drop=["Origin"])) == {"origin-unchecked"}


async def test_a_bad_token_is_told_from_a_lost_one(node: Server) -> None:
    for token, told in ((node.token("alice", ttl=-5), "TOKEN_EXPIRED"), ("nonsense", "UNAUTHORIZED")):
        findings = await examined(node.url, token)
        assert faults(findings) == {"token-refused"}
        assert told in next(finding for finding in findings if finding.check == "token").text


async def test_without_a_token_what_can_be_checked_is(node: Server) -> None:
    findings = await examined(node.url, None)
    assert faults(findings) == set()
    states = {finding.check: finding.state for finding in findings}
    assert states["upgrade"] == states["origin"] == states["polling"] == "ok"
    assert states["token"] == states["events"] == states["silence"] == "skip"


async def test_nobody_there() -> None:
    assert faults(await examined("http://127.0.0.1:9", None)) == {"unreachable"}


async def test_a_proxy_without_its_upstream() -> None:
    async with BrokenProxy([9]) as proxy:
        assert faults(await examined(proxy.url, None)) == {"unreachable"}


async def test_something_else_is_there(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert faults(await examined(f"http://127.0.0.1:{port}", None)) == {"not-routed"}


def test_a_clock_that_is_off() -> None:
    for skew, fault in ((0.4, ""), (-3.0, ""), (60.0, "clock-skew"), (-3600.0, "clock-skew")):
        told: list[Finding] = []
        Examination(Target("http://x"), told.append).clock(skew)
        assert told[0].fault == fault


def test_every_fault_has_its_mend() -> None:
    text = "".join(path.read_text() for path in (ROOT / "server" / "doctor").glob("*.py"))
    for fault, mend in MENDS.items():
        assert text.count(f'"{fault}"') >= 2, f"{fault} is never found"
        assert mend.endswith((".", ";"))


def test_the_command(node: Server, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "server", "doctor", node.url, "--idle", "1", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PARLEY_TOKEN": node.token("alice")},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    good = run("--origin", ORIGIN)
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.rstrip().endswith("nothing to mend")
    bad = run("--json")
    assert bad.returncode == 1
    found = [json.loads(line) for line in bad.stdout.splitlines()]
    assert [(each["fault"], "PUBLIC_URL" in each["mend"]) for each in found if each["state"] == "fail"] == [
        ("origin", True)
    ]


def test_the_command_beside_make_run(
    new_server: Callable[..., Server], sqlite_url: str, tmp_path: Path
) -> None:
    """Without a setting it takes the development key's token; without that it says what it left out."""
    node = new_server(sqlite_url, WS_HEARTBEAT_INTERVAL="2", DEBUG="true", JWT_SECRET_KEY="")

    def run(folder: Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "server", "doctor", node.url, "--idle", "1"],
            cwd=folder, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-1]

    assert run(node.folder) == "nothing to mend"
    told = run(tmp_path)
    assert told != "nothing to mend"
    assert told.endswith("not examined: token, stickiness, events, silence")


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("/", "reach"),
        ("/healthz", "reach"),
        ("/readyz", "ready"),
        ("/ws/", "upgrade"),
        ("/socket.io/", "polling"),
        ("/api/", "token"),
    ],
)
async def test_a_page_of_the_proxys_is_not_taken_for_ours(node: Server, path: str, check: str) -> None:
    findings = await through(node, pages=[path])
    assert "not-routed" in faults(findings), findings
    first = next(finding for finding in findings if finding.state == "fail")
    assert (first.check, first.fault) == (check, "not-routed")


async def test_a_page_is_not_taken_for_ours_with_all_nodes_stopped() -> None:
    async with BrokenProxy([9], pages=["/"]) as proxy:
        assert faults(await examined(proxy.url, None)) == {"not-routed"}


async def test_an_event_stream_that_is_a_page_is_not_routed(node: Server) -> None:
    async with BrokenProxy([node.port]) as proxy:
        told: list[Finding] = []
        examination = Examination(Target(proxy.url, node.token("alice"), ORIGIN), told.append, IDLE)
        async with examination.target.client() as client:
            await examination._token(client)
            proxy._pages = ("/api/",)
            await examination._events(client)
    assert told[-1].fault == "not-routed"


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (
            503,
            b'{"error": {"code": "SERVER_FULL", "message": "No place"}}',
            "not-ready",
        ),
        (503, b"<html>no server available</html>", "unreachable"),
        (502, b"", "unreachable"),
        (200, b"<!doctype html>", "not-routed"),
        (404, b"", "not-routed"),
    ],
)
async def test_our_own_503_is_told_from_a_proxys(status: int, body: bytes, fault: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        findings = await examined(f"http://127.0.0.1:{port}", None)
    assert faults(findings) == {fault}
    assert ("SERVER_FULL" in findings[0].text) == (fault == "not-ready")

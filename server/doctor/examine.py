"""The examination: which checks, in which order, and what each outcome means.

A root cause is reported once: a check that depends on something broken is skipped, with the reason.
"""

import json
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from server.doctor import answers
from server.doctor.findings import Finding, State
from server.doctor.silence import silence
from server.doctor.wire import BROWSER, PATIENCE, Polling, Target, arrives, begin

TRIES = 8
"""Requests of one polling connection. Taken at random, two nodes show in all but one of 128 examinations."""
SSE_PATIENCE = 4.0
SKEW = 5.0
FOREIGN = "https://doctor.invalid"
"""An origin that nobody can have (RFC 2606)."""


@dataclass(slots=True)
class Examination:
    """One patient's. `tell` gets each finding as it is made."""

    target: Target
    tell: Callable[[Finding], None]
    idle: float | None = None
    findings: list[Finding] = field(default_factory=list)
    session_id: str = ""
    interval: float = 25.0
    query_passes: bool = True
    upgrades: bool = True

    def add(self, check: str, state: State, text: str, fault: str = "") -> None:
        finding = Finding(check, state, text, fault)
        self.findings.append(finding)
        self.tell(finding)

    async def run(self) -> list[Finding]:
        """All checks. Raises nothing for what is wrong with the patient."""
        async with self.target.client() as client:
            if await self._checked("reach", self._reach(client)) and self._lives():
                try:
                    for check, step in (
                        ("token", self._token),
                        ("polling", self._polling),
                        ("upgrade", self._upgrade),
                        ("origin", self._origin),
                        ("events", self._events),
                        ("silence", self._silence),
                    ):
                        await self._checked(check, step(client))
                finally:
                    await self._clean_up(client)
        return self.findings

    def _lives(self) -> bool:
        return not any(
            (finding.check == "reach" and finding.state == "fail") or finding.fault == "not-routed"
            for finding in self.findings
        )

    async def _checked(self, check: str, step: Coroutine[Any, Any, None]) -> bool:
        """Runs a step; a connection that breaks in it is a finding, too."""
        try:
            await step
        except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
            fault = "unreachable" if check == "reach" else "broken"
            self.add(check, "fail", f"no proper answer: {str(error) or type(error).__name__}", fault)
            return False
        return True

    # --- is anybody there?

    async def _reach(self, client: httpx.AsyncClient) -> None:
        before = time.time()
        answer = await client.get(self.target.http("/healthz"))
        after = time.time()
        if answers.said(answer, "status") is None or answer.status_code != 200:
            found = answers.fault(answer)
            found = found if found in ("unreachable", "not-ready") else "not-routed"
            self.add("reach", "fail", _stranger("/healthz", answer), found)
            return
        self.add("reach", "ok", f"{self.target.url} answers in {(after - before) * 1000:.0f} ms")
        if self.target.url.startswith("http://") and not self.target.loopback:
            self.add("encryption", "warn", "the URL is http://", "plain-http")
        ready = await client.get(self.target.http("/readyz"))
        checks = answers.said(ready, "checks")
        if checks is None:
            self.add("ready", "fail", _stranger("/readyz", ready), answers.fault(ready))
        elif ready.status_code == 200:
            self.add("ready", "ok", "the node says that it is ready")
        else:
            self.add("ready", "fail", f"/readyz: {ready.text[:300]}", "not-ready")
        await self._prefix(client)
        if date := answer.headers.get("Date"):
            # The header has whole seconds, and begins them: half of one is added.
            self.clock(parsedate_to_datetime(date).timestamp() + 0.5 - (before + after) / 2)

    async def _prefix(self, client: httpx.AsyncClient) -> None:
        """Below a path: whether the addresses that the server gives out have it, too."""
        path = urlsplit(self.target.url).path.rstrip("/")
        if not path:
            return
        answer = await client.get(self.target.http("/openapi.json"))
        server = answer.json()["servers"][0]["url"] if answer.status_code == 200 else "/"
        given = urlsplit(server).path.rstrip("/")
        if given == path:
            self.add("prefix", "ok", f"the server knows that it is below {path}")
        else:
            text = f"the server gives out URLs below {given or '/'}, but is reached below {path}"
            self.add("prefix", "fail", text, "prefix")

    def clock(self, skew: float) -> None:
        if abs(skew) <= SKEW:
            self.add("clock", "ok", "the clocks agree to within seconds")
        else:
            way = "ahead of" if skew > 0 else "behind"
            text = f"the server's clock is {abs(skew):.0f} s {way} this machine's"
            self.add("clock", "fail", text, "clock-skew")

    # --- who am I?

    async def _token(self, client: httpx.AsyncClient) -> None:
        if self.target.token is None:
            self.add("token", "skip", "no token given: checks that need one are left out (--token)")
            return
        answer = await client.post(
            self.target.http("/api/chat/sessions"), json={"title": "doctor"}, headers=self.target.bearer
        )
        if answer.status_code == 201:
            self.session_id = answer.json()["session_id"]
            self.add("token", "ok", "accepted, and a session opened for the examination")
            return
        if answer.status_code == 401:
            # The same token by another way tells a bad token from a header that was lost.
            by_protocol = await begin(
                self.target, "/ws/doctor-" + secrets.token_hex(4), subprotocols=["bearer", self.target.token]
            )
            if by_protocol.status == 101 and by_protocol.close not in (None, 4001):
                text = "accepted as a WebSocket subprotocol, refused in the Authorization header"
                self.add("token", "fail", text, "authorization-stripped")
            else:
                told = answers.message(answer) or "UNAUTHORIZED"
                self.add("token", "fail", f"refused: {told}", "token-refused")
            return
        self.add(
            "token",
            "fail",
            f"POST /api/chat/sessions is answered {answers.short(answer)}",
            answers.fault(answer),
        )

    # --- long polling

    async def _polling(self, client: httpx.AsyncClient) -> None:
        polling = Polling(self.target, client)
        answer = await polling.open()
        if answers.engine_code(answer) in (0, 5):
            self.query_passes = False
            text = "/socket.io/?EIO=4&transport=polling arrives without its query string"
            self.add("query", "fail", text, "query-stripped")
            self.add("polling", "skip", "for that reason")
            return
        if not polling.sid:
            self.add(
                "polling", "fail", f"the handshake is answered {answers.short(answer)}", answers.fault(answer)
            )
            return
        self.add("query", "ok", "query strings arrive")
        self.interval = polling.ping_interval
        auth = json.dumps({"token": self.target.token}) if self.target.token else ""
        lost = 0
        answer = await polling.send(f"40{auth}")
        lost += answers.engine_code(answer) == 1
        connected = ""
        if not lost:
            answer = await polling.receive()
            lost += answers.engine_code(answer) == 1
            connected = answer.text
        if connected.startswith("40") and not lost:
            for _ in range(TRIES):
                answer = await polling.send('42["presence",{"status":"online"}]')
                lost += answers.engine_code(answer) == 1
        elif connected.startswith("44") and self.target.token:
            self.add(
                "polling", "warn", f"connected, but the token is refused: {connected[2:200]}", "token-refused"
            )
            return
        if lost:
            text = "a node answers that it does not know the connection another node began"
            self.add("stickiness", "fail", text, "not-sticky")
            return
        self.add("polling", "ok", "handshake, sending and receiving work")
        if connected.startswith("40"):
            self.add("stickiness", "ok", f"{TRIES} requests over fresh connections found their node")
        else:
            self.add("stickiness", "skip", "needs a token")
        await polling.send("1")

    # --- WebSocket

    async def _upgrade(self, client: httpx.AsyncClient) -> None:
        # Without a token it is accepted first and then closed with 4001, which says all that is asked here.
        raw = await begin(self.target, "/ws/doctor-" + secrets.token_hex(4))
        if raw.status != 101:
            self.upgrades = False
            text = f"a WebSocket to /ws/… is not opened: {raw.problem}"
            self.add("upgrade", "fail", text, answers.upgrade_fault(raw.status, raw.body))
            return
        if not self.query_passes:
            self.add("upgrade", "ok", "WebSockets open (Socket.IO's needs its query string)")
            return
        answer = await begin(self.target, "/socket.io/", {"EIO": "4", "transport": "websocket"})
        if answer.status != 101 or not answer.first.startswith("0{"):
            self.upgrades = False
            text = f"a WebSocket to /socket.io/ is not opened: {answer.problem or answer.close}"
            self.add("upgrade", "fail", text, answers.upgrade_fault(answer.status, answer.body))
            return
        self.add("upgrade", "ok", "WebSockets open on /ws/ and /socket.io/")

    # --- browsers

    async def _origin(self, client: httpx.AsyncClient) -> None:
        origin = self.target.origin or self.target.own_origin
        if await self._refused(client, origin):
            self.add("origin", "fail", f"a page of {origin} is refused", "origin")
            return
        if not await self._refused(client, FOREIGN):
            self.add("origin", "warn", f"{origin} may connect, and so may {FOREIGN}", "origin-unchecked")
        elif origin != self.target.own_origin and not await self._preflight(client, origin):
            text = f"a page of {origin} may connect, but not send an Authorization header"
            self.add("origin", "fail", text, "origin")
        else:
            self.add("origin", "ok", f"{origin} may connect, others may not")

    async def _refused(self, client: httpx.AsyncClient, origin: str) -> bool:
        """Whether the origin is refused at any of the doors."""
        page = {"Origin": origin, "User-Agent": BROWSER}
        headers = page | self.target.bearer
        answer = await client.get(self.target.http("/api/chat/sessions", {"limit": "1"}), headers=headers)
        if answers.error_code(answer) == "ORIGIN_NOT_ALLOWED":
            return True
        if self.query_passes and (await Polling(self.target, client).open(page)).status_code in (
            400,
            403,
        ):
            return True
        if self.upgrades:
            opened = await begin(self.target, "/ws/doctor-" + secrets.token_hex(4), origin=origin)
            return opened.close == 4003 or opened.status == 403
        return False

    async def _preflight(self, client: httpx.AsyncClient, origin: str) -> bool:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        answer = await client.request("OPTIONS", self.target.http("/api/chat/sessions"), headers=headers)
        allowed = answer.headers.get("Access-Control-Allow-Headers", "").lower()
        return answer.headers.get("Access-Control-Allow-Origin") == origin and "authorization" in allowed

    # --- event streams

    async def _events(self, client: httpx.AsyncClient) -> None:
        if not self.session_id:
            self.add("events", "skip", "needs a token")
            return
        session = self.target.http(f"/api/chat/sessions/{self.session_id}")
        held = f"had not come by an open event stream after {SSE_PATIENCE:g} s"
        headers, patience = self.target.bearer, httpx.Timeout(PATIENCE, read=SSE_PATIENCE)
        try:
            async with client.stream("GET", f"{session}/events", headers=headers, timeout=patience) as answer:
                of_events = answer.headers.get("content-type", "").startswith("text/event-stream")
                if answer.status_code != 200 or not of_events:
                    await answer.aread()
                    self.add(
                        "events",
                        "fail",
                        f"the event stream is answered {answers.short(answer)}",
                        answers.fault(answer),
                    )
                    return
                pieces = answer.aiter_text()
                if not await arrives(pieces, "event: welcome", SSE_PATIENCE):
                    self.add("events", "fail", f"the first event {held}", "sse-buffered")
                    return
                # The first event is large enough to fill some buffers by itself; the next one is small.
                sent = time.monotonic()
                await client.post(f"{session}/messages", json={"content": "."}, headers=headers)
                if not await arrives(pieces, "event: message", SSE_PATIENCE):
                    self.add("events", "fail", f"a message {held}", "sse-buffered")
                    return
        except httpx.TimeoutException:
            self.add("events", "fail", f"the answer's beginning {held}", "sse-buffered")
            return
        taken = (time.monotonic() - sent) * 1000
        self.add("events", "ok", f"a message came by an event stream after {taken:.0f} ms")

    # --- silence

    async def _silence(self, client: httpx.AsyncClient) -> None:
        if not self.session_id:
            self.add("silence", "skip", "needs a token")
            return
        buffered = any(finding.fault == "sse-buffered" for finding in self.findings)
        wait = self.interval + 3 if self.idle is None else self.idle
        cut = await silence(
            self.target,
            client,
            self.session_id,
            wait,
            polling=self.query_passes and not any(f.fault == "not-sticky" for f in self.findings),
            sockets=self.upgrades,
            events=not buffered,
        )
        if cut is None:
            self.add("silence", "ok", f"connections stay open through {wait:.0f} s of silence")
        else:
            what, seconds = cut
            text = (
                f"{what} was cut after {seconds:.1f} s of silence; the server may be silent for "
                f"{self.interval:g} s between its pings"
            )
            self.add("silence", "fail", text, "idle-timeout")

    async def _clean_up(self, client: httpx.AsyncClient) -> None:
        if self.session_id:
            url = self.target.http(f"/api/chat/sessions/{self.session_id}")
            # Archived if the query is lost on the way, erased if not.
            try:
                await client.delete(url, params={"purge": "true"}, headers=self.target.bearer)
            except httpx.HTTPError:
                self.add("clean-up", "warn", f"the session {self.session_id} could not be removed")


def _stranger(path: str, answer: httpx.Response) -> str:
    """An answer that is not the one of a node that is well: Parley's own error, a proxy's, or anybody's."""
    if told := answers.message(answer):
        return f"{path}: Parley itself answers {answer.status_code} {told}"
    if answer.status_code in (502, 503, 504):
        return f"{path}: the proxy answers {answer.status_code}: it cannot reach Parley"
    kind = answer.headers.get("content-type", "something").partition(";")[0]
    return f"{path} is answered with {answer.status_code} and {kind}, not by Parley"

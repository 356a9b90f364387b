"""Logs: one line an event, levels, and no token in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server import logs
from server.config import Settings
from server.identity.tokens import mint
from tests.server.test_tokens import KEY


def settings(**environ: str) -> Settings:
    return Settings.load({"JWT_SECRET_KEY": KEY, **environ}, None)


TOKEN = mint(settings(), "alice")[0]


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.others("INFO")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


class Written:
    def __init__(self, stream: io.StringIO) -> None:
        self.stream = stream

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def configured(monkeypatch: pytest.MonkeyPatch, **environ: str) -> Written:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(settings(**environ))
    return Written(stream)


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    written = configured(monkeypatch)
    log = structlog.get_logger("parley.test")
    with structlog.contextvars.bound_contextvars(trace_id="trace_1"):
        log.info("command", name="message", ms=1.5)
        logging.getLogger("parley.commands").info("by hand", extra={"session_id": "sess_1"})
    logging.getLogger("parley.engine").warning("a %s", "word")
    first, by_hand, second = written.lines
    assert (by_hand["session_id"], by_hand["trace_id"]) == ("sess_1", "trace_1")
    assert (first["event"], first["name"], first["ms"], first["trace_id"]) == (
        "command",
        "message",
        1.5,
        "trace_1",
    )
    assert (first["level"], first["logger"]) == ("info", "parley.test")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"], second["logger"]) == ("a word", "warning", "parley.engine")


def test_a_loggers_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written = configured(monkeypatch)
    logging.getLogger("parley").info("a\nb\r\nc\u2028d")
    assert len(written.text.split("\n")) == 2


def test_a_second_call_replaces_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch)
    written = configured(monkeypatch)
    logging.getLogger("parley").info("once")
    assert len(written.lines) == 1


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    written = configured(monkeypatch)
    logging.getLogger("parley.database").debug("BEGIN")
    structlog.get_logger("parley.database").debug("COMMIT")
    assert written.text == ""
    written = configured(monkeypatch, LOG_LEVEL="DEBUG")
    logging.getLogger("parley.database").debug("BEGIN")
    structlog.get_logger("parley.database").debug("COMMIT")
    for name in ("aiosqlite", "engineio.server", "httpcore", "asyncio"):
        logging.getLogger(name).debug("noise")
    assert [line["event"] for line in written.lines] == ["BEGIN", "COMMIT"]
    written = configured(monkeypatch, LOG_LEVEL="ERROR")
    logging.getLogger("uvicorn.error").warning("x")
    assert written.text == ""


TEXTS = {
    "query": "GET /ws/s?token={} HTTP/1.1",
    "query in the middle": "/socket.io/?EIO=4&token={}&transport=websocket",
    "escaped query": "/login?next=%2Fws%2Fs&token%3D{}",
    "authorization": "Authorization: Bearer {}",
    "lower case": "authorization: bearer {}",
    "bytes": "[(b'authorization', b'Bearer {}')]",
    "subprotocol": "Sec-WebSocket-Protocol: bearer, {}",
    "subprotocol list": "['bearer', '{}']",
    "connect packet": '40{{"token":"{}"}}',
    "escaped JSON": '"40{{\\"token\\": \\"{}\\"}}"',
    "dict": "{{'auth': {{'token': '{}'}}}}",
    "exception": "Unauthorized('bad token {}')",
    "bare": "{}",
    "signed file": "/files/file_1?exp=1&sig={}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_token_in_any_text(name: str) -> None:
    assert TOKEN not in logs.scrub(TEXTS[name].format(TOKEN))
    assert TOKEN.split(".")[2] not in logs.scrub(TEXTS[name].format(TOKEN))


@pytest.mark.parametrize(
    "name", [name for name in TEXTS if name not in ("bare", "exception", "subprotocol list")]
)
def test_what_is_no_token_but_stands_in_its_place(name: str) -> None:
    assert "hunter2-hunter2" not in logs.scrub(TEXTS[name].format("hunter2-hunter2"))


def test_what_is_harmless_stays() -> None:
    for text in (
        "GET /api/chat/sessions?limit=20&offset=0 200",
        "postgresql://db/chat is away",
        "the token's signature is wrong",
        "a bearer of news",
        'joined {"session_id": "sess_1"}',
    ):
        assert logs.scrub(text) == text
    assert logs.scrub("postgresql://chat:hunter2@db/chat") == "postgresql://chat:***@db/chat"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_token_by_any_way_into_the_log(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    written = configured(monkeypatch, LOG_FORMAT=log_format, LOG_LEVEL="DEBUG")
    log = structlog.get_logger("parley.test")
    log.info("as a value", token=TOKEN, url=f"/ws/s?token={TOKEN}")
    log.info(
        "deep",
        scope={"headers": [(b"authorization", f"Bearer {TOKEN}".encode())], "auth": {"token": "hunter2"}},
    )
    log.info(f"in the event {TOKEN}")
    with structlog.contextvars.bound_contextvars(path=f"/?token={TOKEN}"):
        log.info("in the context")
    try:
        raise ValueError(f"in an exception: {TOKEN}")
    except ValueError:
        log.exception("ours")
        logging.getLogger("uvicorn.error").exception("theirs")
    logging.getLogger("uvicorn.error").info(
        '%s - "WebSocket %s" [accepted]', ("::1", 1), f"/ws/s?token={TOKEN}"
    )
    logging.getLogger("uvicorn.access").warning('"GET %s"', f"/ws/s?token={TOKEN}")
    logging.getLogger("asyncio").error(
        "Task exception", extra={"token": TOKEN, "more": {"url": f"?token={TOKEN}"}}
    )
    assert TOKEN not in written.text
    assert TOKEN.split(".")[2] not in written.text
    assert "hunter2" not in written.text
    assert written.text.count("in an exception") >= 2
    assert "[accepted]" in written.text


def test_uvicorn_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn sets up its loggers when its configuration is made; ours then takes them over."""
    import uvicorn

    uvicorn.Config(app=None)  # type: ignore[arg-type]
    written = configured(monkeypatch)
    assert not logging.getLogger("uvicorn").handlers
    logging.getLogger("uvicorn.error").info("/ws/s?token=%s", TOKEN)
    assert TOKEN not in written.text
    assert len(written.lines) == 1


#: Harmless, but for what a terminal or a line-based reader makes of them.
CONTROLS = ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x9b31mb", "a\x07b", "a\x7fb", "a\u2028b", "a\u2029b",
            "a\u202eb", "a\u2066b", "a\x85b", "a\x00b", "a\ufeffb", "a\udc80b", "a\x0cb"]  # fmt: skip


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("text", CONTROLS, ids=ascii)
def test_no_control_by_any_way_into_the_log(
    monkeypatch: pytest.MonkeyPatch, log_format: str, text: str
) -> None:
    written = configured(monkeypatch, LOG_FORMAT=log_format, LOG_LEVEL="DEBUG")
    log = structlog.get_logger("parley.test")
    ways = [
        lambda: log.debug("as a value", name=text),
        lambda: log.info("in a name", **{text: 1}),
        lambda: log.info("deep", scope={"x": [text, {text: (text,)}], "y": text.encode("utf-8", "replace")}),
        lambda: log.info(text),
        lambda: log.info("an error", error=ValueError(text)),
        lambda: structlog.get_logger(f"parley.{text}").info("a logger"),
        lambda: logging.getLogger("parley").info("by hand %s", text, extra={"session_id": text}),
        lambda: logging.getLogger("uvicorn.error").info('"WebSocket %s" [accepted]', text),
        lambda: logging.getLogger("some.library").warning(text),
    ]
    for way in ways:
        way()
    with structlog.contextvars.bound_contextvars(path=text):
        log.info("in the context")
    lines = written.text.removesuffix("\n").split("\n")
    assert len(lines) == len(ways) + 1
    assert not [c for line in lines for c in line if c in text and c not in "ab" and not c.isprintable()]
    assert written.text.splitlines() == lines
    if log_format == "json":
        assert json.loads(lines[0])["name"] == text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_has_no_line_that_looks_like_an_events(
    monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    written = configured(monkeypatch, LOG_FORMAT=log_format)
    try:
        raise ValueError("first\n2026-01-01T00:00:00Z [info     ] forged\x1b[2K")
    except ValueError:
        structlog.get_logger("parley.test").exception("ours")
        logging.getLogger("uvicorn.error").exception("theirs")
    assert "\x1b" not in written.text
    begin = [line for line in written.text.splitlines() if not line.startswith((" ", "Traceback"))]
    assert len(begin) == 2, written.text
    assert all("ours" in line or "theirs" in line for line in begin)
    assert "forged" in written.text


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
@pytest.mark.parametrize(
    "name", ["httpx", "httpx2", "httpcore2.http11", "openai._base_client", "anything.new"]
)
def test_other_packages_are_calm_whatever_they_call_themselves(
    monkeypatch: pytest.MonkeyPatch, level: str, name: str
) -> None:
    written = configured(monkeypatch, LOG_LEVEL=level)
    logging.getLogger(name).info("HTTP Request: POST")
    assert written.text == ""
    logging.getLogger(name).warning("something is wrong")
    assert [line["event"] for line in written.lines] == ["something is wrong"]

"""Structured logs on standard error, one line an event, without tokens, and without characters that a
terminal obeys. Knows no business.

All of it goes through the standard library's root logger, other packages' lines too: uvicorn writes a
WebSocket's whole address, `?token=` included, even with its access log off.
"""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from server.config import Settings

HIDDEN = "***"

_PATTERNS = (
    # A JWT wherever it stands: three base64url parts, the first an encoded `{"`.
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    # In a query string, or a form: also what is no JWT, so that a wrong token is hidden, too.
    (
        re.compile(
            r"((?:^|[?&;\s\"'])(?:access_|metrics_)?(?:token|signature|sig)(?:=|%3[dD]))[^&\s\"'#;,)\]}]+"
        ),
        rf"\1{HIDDEN}",
    ),
    # In headers: Authorization, and the subprotocol that carries a token.
    (
        re.compile(r"\b([Bb]earer|BEARER|[Bb]asic|BASIC)((?:%20|,|\s)+)[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1\2{HIDDEN}",
    ),
    # In JSON and in a dict's repr: {"token": "…"}.
    (
        re.compile(
            r"""(["']?(?:token|authorization|secret_key|jwt_secret_key|password|api_key|pid)\\?["']\s*:\s*\\?["'])"""
            r"""[^"'\\]+""",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # Passwords in the addresses of databases.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@"), rf"\1{HIDDEN}@"),
)
_SECRET_KEYS = frozenset(
    (
        "token",
        "authorization",
        "password",
        "secret",
        "api_key",
        "jwt_secret_key",
        "secret_key",
        "cookie",
        "pid",
    )
)


#: Characters that a terminal or a viewer obeys instead of showing: C0, DEL and C1 (ECMA-48), separators of
#: lines, marks of direction (UAX #9); and halves of surrogate pairs, which cannot be written at all.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
#: The values that have lines of their own.
_LINED = frozenset(("exception", "stack"))


def escape(text: str) -> str:
    """`text` with its controls spelled as JSON spells them: `\\u001b`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def escape_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog's processor for people's eyes. A traceback keeps its lines; none looks like an event's."""
    return {
        escape(key): _lined(value) if key in _LINED and isinstance(value, str) else _escaped(value)
        for key, value in event.items()
    }


def _lined(text: str) -> str:
    return "\n    ".join(map(escape, text.split("\n")))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(str(name)): _escaped(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return value


def _json(event: Any, **options: Any) -> str:
    """JSON on one line. Outside of its strings all is ASCII, so what is escaped stands inside of one."""
    return escape(json.dumps(event, ensure_ascii=False, **options))


def scrub(text: str) -> str:
    """`text` without tokens, signatures and passwords."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def scrub_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog's processor: every value of the line, at any depth, exceptions included."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if key in _SECRET_KEYS:
        return HIDDEN
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return scrub(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {name: _clean(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", each) for each in value]
    return scrub(str(value))


def _rendering(log_format: str) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.JSONRenderer(_json)]
    colors, tracebacks = sys.stderr.isatty(), structlog.dev.plain_traceback
    return [escape_event, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=tracebacks)]


def configure(settings: Settings) -> None:
    """Sets up logging for the process, by LOG_LEVEL and LOG_FORMAT. A second call replaces the first's."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # A logger taken before `configure` was called has to follow it.
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            scrub_event,
            *_rendering(settings.log_format),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_quiet(settings.log_level))
    for name, level in others(settings.log_level).items():
        logger = logging.getLogger(name)
        # uvicorn brings handlers of its own, which know nothing of tokens.
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)


def others(level: str) -> dict[str, str]:
    """The levels of named loggers. All others have the root's: other packages' lines would bury ours, some
    print what they send, and what they call themselves changes with their releases."""
    calm = "INFO" if level == "DEBUG" else level
    quiet = _quiet(level)
    return {
        "parley": level,
        "uvicorn": calm,
        "uvicorn.error": calm,
        "asyncio": calm,
        "uvicorn.access": quiet,
        # These set a level of their own where they find none.
        "engineio": quiet,
        "socketio": quiet,
        "engineio.server": quiet,
        "socketio.server": quiet,
    }


def _quiet(level: str) -> str:
    return level if level in ("ERROR", "CRITICAL") else "WARNING"

"""What a tool gave, as the model is told of it and as people see it. Knows MCP's results, sends nothing."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.deltas import Citation
from events.storable import storable

#: Of one result's links, those that become sources.
MOST_SOURCES = 50
_TITLE, _SNIPPET, _URL = 500, 2000, 8000


class ToolResult(Struct, frozen=True):
    """`text` is told to the model; `output` is shown, unless there is an `error`. `size`: bytes that both
    were cut to."""

    text: str
    output: Any = None
    error: str | None = None
    sources: tuple[Citation, ...] = ()

    @property
    def size(self) -> int:
        return len(self.text.encode())


def failed(reason: str, limit: int) -> ToolResult:
    text = cut(reason, limit)
    return ToolResult(f"Error: {text}", error=text)


def result_of(called: dict[str, Any], limit: int) -> ToolResult:
    """A `CallToolResult`, in at most `limit` bytes. What is no text is named: it does not vanish."""
    blocks = [block for block in called.get("content") or () if isinstance(block, dict)]
    text = "\n\n".join(_words(block) for block in blocks)
    # As it will be stored and shown: NaN is null there.
    written = msgspec.json.encode(storable(called.get("structuredContent"))).decode()
    structured = msgspec.json.decode(written)
    has_more = structured is not None
    told = cut(text or (written if has_more else "(no output)"), limit)
    if called.get("isError"):
        return ToolResult(f"Error: {told}", error=told)
    whole = has_more and len(written.encode()) <= limit
    return ToolResult(told, structured if whole else told, sources=_sources(blocks))


def cut(text: str, limit: int) -> str:
    """Bytes of UTF-8, and that it was cut. NUL cannot be stored."""
    data = text.replace("\0", "").encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    note = f"\n[cut: {len(data)} bytes in all]"
    return data[: max(0, limit - len(note))].decode("utf-8", "ignore") + note


def _words(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "text":
        return _text(block.get("text"))
    if kind == "resource_link":
        description = _text(block.get("description"))
        return f"[{_name(block)}]({_text(block.get('uri'))})" + (f": {description}" if description else "")
    if kind == "resource":
        inner = block.get("resource")
        inner = inner if isinstance(inner, dict) else {}
        named = _text(inner.get("uri"))
        if "text" in inner:
            return f"{named}:\n{_text(inner['text'])}"
        return f"[{named}: {_text(inner.get('mimeType')) or 'binary'}, {_bytes(inner.get('blob'))} bytes]"
    return f"[{_text(kind) or 'unknown'}: {_text(block.get('mimeType'))}, {_bytes(block.get('data'))} bytes]"


def _sources(blocks: Iterable[dict[str, Any]]) -> tuple[Citation, ...]:
    """Links, and documents that came with an address of the web."""
    found = []
    for block in blocks:
        within = block.get("resource")
        told = within if block.get("type") == "resource" and isinstance(within, dict) else block
        url = _text(told.get("uri"))
        if block.get("type") not in ("resource", "resource_link") or len(url) > _URL:
            continue
        if url.lower().startswith(("http://", "https://")) and not any(map(str.isspace, url)):
            snippet = _text(told.get("description") or told.get("text"))[:_SNIPPET]
            found.append(Citation(url, (_name(told) or url)[:_TITLE], snippet or None))
    return tuple(found[:MOST_SOURCES])


def _name(block: dict[str, Any]) -> str:
    return _text(block.get("title")) or _text(block.get("name"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _bytes(base64: Any) -> int:
    return len(_text(base64).rstrip("=")) * 3 // 4

"""A message as a model is told: its words, its files by their content or their name, and what a page tells of
itself, as parts of a chat completion's message. Sends nothing."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from events.agents.attachments import PDF_BYTES_PER_TOKEN, PICTURE_TOKENS, Attachment, files_of, key_of
from events.schema import Message

#: Bytes of UTF-8 per token, about, and tokens that a message costs beside its text.
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
#: Of what is left of the budget for one text file: the conversation needs some, too.
SHARE = 1 / 2
CUT = "\n[cut]"
#: The name of a data part.
CONTEXT = "context"

#: A text, or a list of parts of which the first is text.
Content = str | list[dict[str, Any]]


class FilesTold:
    """`attached`: what there is of the files; without `pictures` the model takes texts alone."""

    def __init__(self, attached: Mapping[str, Attachment], *, pictures: bool) -> None:
        self._attached, self._pictures = attached, pictures

    def content(self, said: Message, budget: int) -> Content:
        """`budget`: tokens that there are for it."""
        words = said.content or ""
        files = files_of(said) if said.sender_type == "user" else []
        if not files:
            return words
        texts, shown = [words] if words else [], []
        budget -= tokens_of(words)
        for file in files:
            known = self._attached.get(key_of(file))
            text = label = _label(file)
            if known is not None and known.kind == "text":
                text = f"{label}\n{_cut(known.content, int(budget * SHARE) * BYTES_PER_TOKEN)}"
            elif known is not None and self._pictures and known.tokens <= budget:
                shown.append(_part(known, file))
                budget -= known.tokens
            texts.append(text)
            budget -= tokens_of(text)
        written = "\n\n".join(texts)
        return [{"type": "text", "text": written}, *shown] if shown else written


def context_of(said: Message, budget: int) -> str:
    """What the page that asks tells of itself, as its `data` part says it: `[{description, value}]`. It has a
    user's weight. `budget`: tokens that are left."""
    parts: Any = said.parts or ()
    data = next((part["data"] for part in parts if part["type"] == "data" and part["name"] == CONTEXT), ())
    told = []
    for each in data if isinstance(data, list) else ():
        if isinstance(each, dict) and isinstance(each.get("description"), str):
            value = each.get("value")
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            told.append(f"[{CONTEXT}: {' '.join(each['description'].split())}]\n{text}")
    return _cut("\n\n".join(told), int(budget * SHARE) * BYTES_PER_TOKEN) if told else ""


def in_words(said: Message) -> str:
    """Its words, and its files by their name."""
    content = FilesTold({}, pictures=False).content(said, 0)
    assert isinstance(content, str)
    return content


def tokens_of(content: Content) -> int:
    """About."""
    if isinstance(content, list):
        return sum(map(_tokens_of, content))
    return math.ceil(len(content.encode()) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


def has_files(content: Content | None) -> int:
    """How many stand in it by their content, beside texts."""
    return len(content) - 1 if isinstance(content, list) else 0


def after(words: str, content: Content) -> Content:
    """The content with words before it."""
    if isinstance(content, str):
        return words + content
    first, *others = content
    return [{**first, "text": words + first["text"]}, *others]


def joined(content: Content, more: Content) -> Content:
    """One message of two."""
    if isinstance(content, str) and isinstance(more, str):
        return f"{content}\n\n{more}"
    text, *shown = content if isinstance(content, list) else [{"type": "text", "text": content}]
    text_of_more, *shown_of_more = more if isinstance(more, list) else [{"type": "text", "text": more}]
    written = f"{text['text']}\n\n{text_of_more['text']}"
    return [{"type": "text", "text": written}, *shown, *shown_of_more]


def _label(file: Mapping[str, Any]) -> str:
    """Its name in one line: nothing of it looks like what somebody said."""
    name = " ".join((file.get("name") or file.get("url") or "without a name").split())
    return f"[file: {name}, {file.get('media_type') or 'of an unknown type'}]"


def _cut(text: str, size: int) -> str:
    if len(text.encode()) <= size:
        return text
    return text.encode()[: max(0, size)].decode("utf-8", "ignore") + CUT


def _part(known: Attachment, file: Mapping[str, Any]) -> dict[str, Any]:
    if known.kind == "picture":
        return {"type": "image_url", "image_url": {"url": known.content}}
    return {"type": "file", "file": {"filename": file.get("name") or "file.pdf", "file_data": known.content}}


def _tokens_of(part: Mapping[str, Any]) -> int:
    if part["type"] == "text":
        return tokens_of(part["text"])
    if part["type"] == "file":
        return len(part["file"]["file_data"]) * 3 // 4 // PDF_BYTES_PER_TOKEN
    return PICTURE_TOKENS

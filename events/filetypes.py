"""What a file is, judged by its content alone, and the name it is shown under. Knows no storage."""

import codecs
import re
import unicodedata

import filetype  # type: ignore[import-untyped]

from events.errors import UnsupportedFileType

#: Bytes at the beginning that tell what a file is.
HEAD = 8192
#: Signatures that are themselves text. Any other one at the beginning of a text (`BM…`, `MZ…`, `GIF89a/*…`)
#: is a coincidence, or meant to be mistaken: those formats are binary from their first bytes on.
TEXTUAL = frozenset({"application/pdf", "application/rtf", "application/postscript"})
#: One format under two names.
SAME = {"image/apng": "image/png"}
#: Shown by browsers in a page of their own, and harmless there. Never SVG or HTML: they can hold scripts.
INLINE = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif", "application/pdf"}
)
#: Formats that a thumbnail is made of; one that cannot be read as what it says is refused.
IMAGES = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif"}
)

NAME_LENGTH = 255
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def judge(head: bytes, *, whole: bool) -> str:
    """The media type of a file that begins with `head`; `whole`: that is all of it.

    Raises UnsupportedFileType for what has no signature and is no text.
    """
    text = TextCheck()
    is_text = text.takes(head) and (not whole or text.complete())
    kind: str | None = filetype.guess_mime(bytes(head))
    if kind is not None and (not is_text or kind in TEXTUAL):
        return SAME.get(kind, kind)
    if is_text:
        return "text/plain"
    raise UnsupportedFileType("neither a known format nor text in UTF-8")


class TextCheck:
    """Whether bytes that come piece by piece are UTF-8 without NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def takes(self, piece: bytes) -> bool:
        if b"\0" in piece:
            return False
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            return False
        return True

    def complete(self) -> bool:
        """No character is cut off at the end."""
        return not self._decoder.getstate()[0]


def display_name(given: str | None) -> str:
    """A name to show: no folders, no control or direction-changing characters, at most 255 characters.

    Never a path: contents are stored under ids.
    """
    name = unicodedata.normalize("NFC", _CONTROLS.sub("", given or ""))
    name = re.split(r"[/\\]", name)[-1].strip()
    if not name.strip("."):
        return "file"
    if len(name) > NAME_LENGTH:
        stem, dot, extension = name.rpartition(".")
        if dot and 0 < len(extension) <= 16:
            name = f"{stem[: NAME_LENGTH - 1 - len(extension)]}.{extension}"
        else:
            name = name[:NAME_LENGTH]
    return name

"""What a file is, judged by its content alone, and the name it is shown under. Knows no storage."""

import codecs
import re
import unicodedata
from collections.abc import Sequence

import filetype  # type: ignore[import-untyped]

from events.errors import UnsupportedFileType

#: Bytes at the beginning that tell what a file is.
HEAD = 8192
#: Signatures that are themselves text. Any other one at the beginning of a text (`BM…`, `MZ…`, `GIF89a/*…`)
#: is a coincidence, or meant to be mistaken: those formats are binary from their first bytes on.
TEXTUAL = frozenset({"application/pdf", "application/rtf", "application/postscript"})
#: One format under two names.
SAME = {"image/apng": "image/png"}
HEIC = "image/heic"
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis"})

TEXT = "text/plain"
NO_TEXT = "neither a known format nor text in UTF-8, in UTF-16 with its mark, or in one of TEXT_ENCODINGS"
#: What TEXT_ENCODINGS may name, and what is tried for each. CP949 has all of EUC-KR.
ENCODINGS = {
    "cp949": ("cp949",),
    "euc-kr": ("euc_kr",),
    "utf-16": ("utf-16-le", "utf-16-be"),
}
#: By what browsers know them (WHATWG Encoding Standard): their euc-kr is CP949.
CHARSETS = {"cp949": "euc-kr", "euc_kr": "euc-kr", "utf-16-le": "utf-16le", "utf-16-be": "utf-16be"}
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
#: Characters of texts that are not printable; U+2000 is a space that was read in the wrong byte order.
_WHITE = re.compile("[\\t\\n\\v\\f\\r\\u00a0\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060\\u3000\\ufeff]")
#: Shown by browsers in a page of their own, and harmless there. Never SVG or HTML: they can hold scripts.
INLINE = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif", "application/pdf"}
)
#: Formats that a thumbnail is made of; one that cannot be read as what it says is refused.
IMAGES = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif", HEIC}
)

NAME_LENGTH = 255
#: Letters of a given name that are looked at: to normalise many marks takes their square of time.
LOOKED_AT = 1024
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def judge(head: bytes, *, whole: bool, encodings: Sequence[str] = ()) -> str:
    """The media type of a file that begins with `head`; `whole`: that is all of it. `encodings` of texts
    besides UTF-8, and UTF-16 that says so.

    Raises UnsupportedFileType for what has no signature and is no text.
    """
    if _is_heic(head):
        return HEIC
    text = TextCheck(encodings)
    is_text = text.takes(head) and (not whole or text.complete())
    kind: str | None = filetype.guess_mime(bytes(head))
    # What is no UTF-8 is a text only where nothing else claims it.
    if kind is not None and (not is_text or kind in TEXTUAL or not text.is_utf8):
        return SAME.get(kind, kind)
    if is_text:
        return TEXT
    raise UnsupportedFileType(NO_TEXT)


def _is_heic(head: bytes) -> bool:
    """One picture, as phones take them (ISO 23008-12), or several of which one is shown."""
    size = int.from_bytes(head[:4])
    if head[4:8] != b"ftyp" or not 16 <= size <= 256:
        return False
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
    return head[8:12] in _HEIC or (head[8:12] == b"mif1" and not brands.isdisjoint(_HEIC))


class TextCheck:
    """Whether bytes that come piece by piece are text, and in which encoding: UTF-8 without NUL, UTF-16 that
    begins with its mark, or one of `encodings`, the first that fits to the end."""

    def __init__(self, encodings: Sequence[str] = ()) -> None:
        self._encodings = encodings
        self._marked = False
        self._read: dict[str, codecs.IncrementalDecoder] | None = None

    def takes(self, piece: bytes) -> bool:
        if self._read is None:
            self._read = {name: codecs.getincrementaldecoder(name)() for name in self._possible(piece)}
        for name, decoder in list(self._read.items()):
            try:
                fits = self._fits(name, decoder.decode(piece))
            except UnicodeDecodeError:
                fits = False
            if not fits:
                del self._read[name]
        return bool(self._read)

    def _possible(self, piece: bytes) -> list[str]:
        for mark, name in _MARKS.items():
            if piece.startswith(mark):
                self._marked = True
                return [name]
        return ["utf-8", *(name for given in self._encodings for name in ENCODINGS[given])]

    def _fits(self, name: str, text: str) -> bool:
        if name == "utf-8" or self._marked:
            return "\0" not in text
        # Where nearly all bytes mean something, a text is told by having nothing but what is written.
        return _WHITE.sub("", text).isprintable()

    @property
    def is_utf8(self) -> bool:
        return self._read is None or "utf-8" in self._read

    def complete(self) -> bool:
        """No character is cut off at the end."""
        self._read = {name: one for name, one in (self._read or {}).items() if not one.getstate()[0]}
        return bool(self._read)

    @property
    def media_type(self) -> str:
        """Once it is complete: the type, with the name by which browsers know the encoding."""
        name = next(iter(self._read or {}), "utf-8")
        return TEXT if name == "utf-8" else f"{TEXT}; charset={CHARSETS[name]}"


def display_name(given: str | None) -> str:
    """A name to show: no folders, no control or direction-changing characters, at most 255 characters.

    Never a path: contents are stored under ids.
    """
    name = given or ""
    name = name[1 + max(name.rfind("/"), name.rfind("\\")) :]
    if len(name) > LOOKED_AT:
        name = name[: LOOKED_AT - 20] + name[-20:]
    name = unicodedata.normalize("NFC", _CONTROLS.sub("", name)).strip()
    if not name.strip("."):
        return "file"
    if len(name) > NAME_LENGTH:
        stem, dot, extension = name.rpartition(".")
        if dot and 0 < len(extension) <= 16:
            name = f"{stem[: NAME_LENGTH - 1 - len(extension)]}.{extension}"
        else:
            name = name[:NAME_LENGTH]
    return name

"""What a server of tools says of them, and how it fails, whichever protocol it speaks."""

from typing import Any

import msgspec
from msgspec import Struct

#: Characters of a tool's title: as a part's (`events.parts`).
TITLE = 500


class ListedTool(Struct, frozen=True):
    """A tool as its server lists it. `parameters` is a JSON Schema."""

    name: str
    title: str | None
    description: str
    parameters: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes, as JSON."""
        return len(msgspec.json.encode(self))


class ToolServerFailed(Exception):
    """A call came to nothing. The text is told to the model, and shown."""


class Stale(ToolServerFailed):
    """The session is over, and the call was not carried out: another session may."""

"""An answer's lines in a UI message stream's frames, as server-sent events."""

from collections.abc import Iterator

from server.dialects.aisdk.chunks import UIChunks
from server.dialects.answerlines import AnswerLine, Frames
from server.transports.codecs import data_line
from server.transports.growing import Growing, growing_events

DONE = b"data: [DONE]\n\n"
#: By which proxies and tools know a UI message stream.
HEADERS = [(b"x-vercel-ai-ui-message-stream", b"v1")]


class UIFrames(Frames):
    """Chunks as server-sent events."""

    def __init__(self, chunks: UIChunks) -> None:
        super().__init__()
        self._chunks = chunks

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        for chunk in self._chunks.tell(line):
            yield data_line(chunk)
        if self._chunks.ended:
            self.ended = True
            yield DONE

    def grows(self) -> Growing | None:
        return growing_events(self._chunks.grows())

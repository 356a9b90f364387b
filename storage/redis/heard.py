"""What a node has heard of the clock on its channels, until Redis is compared with it (docs/adr/0010)."""

from collections.abc import Mapping

from storage.interfaces import Event

#: Positions that go with one call: it must not keep Redis from the others for long.
AT_ONCE = 500

#: Epoch, mark, position.
Stamp = tuple[str, str, int]


class Heard:
    """A channel's events follow each other: one that names another before it tells that some were lost. So of
    each channel the last one is enough."""

    def __init__(self) -> None:
        self._last: dict[bytes, Stamp] = {}
        self._open: dict[object, Stamp] = {}  # not yet compared

    def take(self, channel: bytes, event: Event) -> bool:
        """False: what was heard there before is no part of the history that this event is of."""
        pos, epoch, last = event.pos, event.epoch, self._last.get(channel)
        self._last[channel] = self._open[channel] = (epoch, event.mark, pos)
        if last is None or (pos > last[2] and (event.prev >= last[2] or not event.prev)) or last[0] != epoch:
            return True
        self._open[last] = last
        return False

    def forget(self, channel: bytes) -> None:
        """It is not listened to any more. What was heard there still counts."""
        self._last.pop(channel, None)

    def some(self) -> Mapping[object, Stamp]:
        """What Redis has not been compared with, the oldest first."""
        if len(self._open) <= AT_ONCE:
            return dict(self._open)
        return {key: self._open[key] for key, _ in zip(self._open, range(AT_ONCE), strict=False)}

    def compared(self, stamps: Mapping[object, Stamp]) -> None:
        for key, stamp in stamps.items():
            if self._open.get(key) is stamp:
                del self._open[key]

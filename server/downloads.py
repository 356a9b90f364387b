"""How many contents of files are on their way to clients at a time. Knows no file."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from events.errors import RateLimited, Unavailable
from server.engine.answers import counted, once_taken
from server.underway import Underway

#: In all, and of one network while there are others: each holds a quarter of a MiB for a client that takes it
#: slowly. A browser asks for six at a time.
MOST: Final = 512
EACH: Final = 128


class Downloads:
    def __init__(self, most: int = MOST, each: int = EACH) -> None:
        self._underway = Underway(most, each)

    @contextmanager
    def one(self, scope: MutableMapping[str, Any], address: str) -> Iterator[None]:
        """It counts until its client has taken all. Raises RateLimited, Unavailable."""
        refused = self._underway.enter(address)
        if refused == 429:
            raise RateLimited("this network has as many downloads under way as there is room for")
        if refused:
            raise Unavailable("too many downloads are under way")
        counted(scope)
        try:
            yield
        finally:
            once_taken(scope, lambda: self._underway.leave(address))

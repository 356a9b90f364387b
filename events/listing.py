"""Gives sessions their place in lists where they have none yet. Knows no SQL."""

from storage.listed import Listed

#: Steps of one run: a second or two of a large database that was brought along, then others have their turn.
STEPS = 20


class Listing:
    def __init__(self, store: Listed) -> None:
        self._store = store

    async def run(self) -> None:
        """Raises Unavailable."""
        for _ in range(STEPS):
            if not await self._store.fill():
                return

"""Bytes of uploads under way on this node, with their fields: they count for their user before their files
have rows.

Knows no file, no disk and no transport.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from events.access import Caller
from events.bounds import LINK, OPERATORS, STORED, UPLOADING, UPLOADING_EACH, UPLOADING_LAST
from events.errors import RateLimited


class _User:
    """Of one user's uploads that overlap: bytes that come, and those whose files have their rows since."""

    __slots__ = ("coming", "stored", "uploads")

    def __init__(self) -> None:
        self.uploads = self.coming = self.stored = 0


class Uploads:
    """`max_size` of one in bytes; `processes` share what there is room for; `size` of all under way here."""

    def __init__(self, max_size: int, processes: int = 1) -> None:
        self._one, self._each = max_size, UPLOADING_EACH * max_size
        self._last = UPLOADING_LAST * max_size // processes
        self._most = max(max_size, UPLOADING * max_size // processes)
        self._users: dict[str, _User] = {}
        self._shares: Counter[str] = Counter()  # by account, and by share link
        self.size = 0

    @contextmanager
    def begin(self, caller: Caller) -> Iterator["Upload"]:
        """One file on its way, to its row or to its end without one."""
        user = self._users.setdefault(caller.key, _User())
        user.uploads += 1
        shares = () if caller.role in OPERATORS else tuple(filter(None, (caller.account, caller.link)))
        upload = Upload(self, user, shares)
        try:
            yield upload
        finally:
            self._count(upload, -upload.size)
            if upload.kept:
                user.stored += upload.size
            user.uploads -= 1
            if not user.uploads:
                del self._users[caller.key]

    def admit(self, upload: "Upload", size: int) -> None:
        """Raises RateLimited: others end, and then there is room."""
        if upload.shares:
            self._share(upload, size)
        self._count(upload, size)

    def _share(self, upload: "Upload", size: int) -> None:
        """Shares the bytes as connections are shared (`server.places`): a user with more than one file under
        way gets no more than is still free, and none of the last part. All holders of a share link have one
        share, and those of one network a part of that."""
        free = self._most - self.size
        account, *link = (self._shares[name] + size for name in upload.shares)
        part = link and account > self._one and account * LINK > free
        if size > free or part or any(self._beyond(mine, free) for mine in (account, *link)):
            raise RateLimited("too much is being uploaded", retry_after=1000)

    def _beyond(self, mine: int, free: int) -> bool:
        return mine > self._one and (mine > min(free, self._each) or free <= self._last)

    def _count(self, upload: "Upload", size: int) -> None:
        self.size += size
        upload.user.coming += size
        for name in upload.shares:
            self._shares[name] += size
            if not self._shares[name]:
                del self._shares[name]


class Upload:
    """`shares`: for whom it counts; none for operators, who have no bounds. `kept`: its file has a row."""

    def __init__(self, uploads: Uploads, user: _User, shares: tuple[str, ...]) -> None:
        self._uploads, self.user, self.shares = uploads, user, shares
        self.size, self.kept = 0, False
        self._before = user.stored
        self._stored = 0
        self._quota: int | None = None

    def within(self, stored: int, quota: int | None) -> None:
        """The user's files, read after the beginning, had `stored` bytes of a `quota`; None: of no quota."""
        self._stored, self._quota = stored, quota

    def came(self, size: int) -> None:
        """A piece of so many bytes. Raises PayloadTooLarge (with what else comes it is beyond the quota),
        RateLimited."""
        if self._quota is not None:
            since = self.user.stored - self._before
            if self._stored + since + self.user.coming + size > self._quota:
                raise STORED.error(self._quota)
        self._uploads.admit(self, size)
        self.size += size

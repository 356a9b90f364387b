"""Which message follows which, by their numbers. Knows no database.

Nearly every message follows the one before it. A fork is one that follows another: it is stored with its
parent's number (0: none, it begins the conversation). Between two forks lies a run of neighbours, so a path
from the root to any message is a few runs, found without looking at the messages.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

#: (first, last) number of a run.
Run = tuple[int, int]


class Tree:
    """A session's messages, 1 to `last`. `forks` are (number, parent's number)."""

    __slots__ = ("_children", "_firsts", "_parents", "last")

    def __init__(self, forks: Iterable[tuple[int, int]], last: int) -> None:
        self._parents = dict(forks)
        self._firsts = sorted(self._parents)
        self._children: dict[int, list[int]] = {}
        for seq in self._firsts:
            self._children.setdefault(self._parents[seq], []).append(seq)
        self.last = last

    def __len__(self) -> int:
        """How many forks there are."""
        return len(self._firsts)

    def add(self, parent: int) -> int:
        """The next message; its number."""
        self.last += 1
        if parent != self.last - 1:
            self._parents[self.last] = parent
            self._firsts.append(self.last)
            self._children.setdefault(parent, []).append(self.last)
        return self.last

    def parent(self, seq: int) -> int:
        return self._parents.get(seq, seq - 1)

    def children(self, seq: int) -> list[int]:
        """In their order."""
        found = self._children.get(seq, [])
        if seq < self.last and seq + 1 not in self._parents:
            return [seq + 1, *found]
        return found

    def runs(self, head: int) -> Iterator[Run]:
        """The path to a message, from its end."""
        while head > 0:
            place = bisect_right(self._firsts, head)
            first = self._firsts[place - 1] if place else 1
            yield first, head
            head = self._parents.get(first, 0)

    def is_on(self, seq: int, head: int) -> bool:
        """Whether a message is on the path to another."""
        run = next((run for run in self.runs(head) if run[0] <= seq), None)
        return run is not None and seq <= run[1]

    def newest(self, head: int, most: int, *, above: int = 0, below: int | None = None) -> list[int]:
        """The last `most` numbers of a path, between bounds that are not among them; the newest first."""
        found: list[int] = []
        for first, last in self.runs(head):
            end = last if below is None else min(last, below - 1)
            begin = max(first, above + 1, end - (most - len(found)) + 1)
            found += range(end, begin - 1, -1)
            if len(found) >= most or first <= above:
                break
        return found

    def oldest(self, head: int, most: int, *, above: int = 0, below: int | None = None) -> list[int]:
        """The first `most` of them; the oldest first."""
        found: list[int] = []
        for first, last in reversed(list(self.runs(head))):
            begin = max(first, above + 1)
            end = min(last if below is None else min(last, below - 1), begin + most - len(found) - 1)
            found += range(begin, end + 1)
            if len(found) >= most:
                break
        return found

    def newest_under(self, seq: int) -> int:
        """The message with the highest number to which the path leads through this one."""
        place = bisect_right(self._firsts, seq)
        under = [(seq, self._end(place - 1))]
        for fork in range(place, len(self._firsts)):
            first = self._firsts[fork]
            parent = self._parents[first]
            known = bisect_right(under, parent, key=_first) - 1
            if known >= 0 and parent <= under[known][1]:
                under.append((first, self._end(fork)))
        return under[-1][1]

    def _end(self, place: int) -> int:
        """Of the run that begins with a fork; of the very first one where `place` is -1."""
        following = place + 1
        return self._firsts[following] - 1 if following < len(self._firsts) else self.last


class CommonPaths:
    """Which messages of a tree are on one branch. Many are asked about: what paths share is walked once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[int, list[Run]] = {}
        # Of a run, by its first message: a path, and the run's place in it.
        self._walked: dict[int, tuple[list[Run], int]] = {}

    def on_one_branch(self, one: int, other: int) -> bool:
        """Whether who reads one of two messages can read the other."""
        path, number = self._path(max(one, other)), min(one, other)
        place = bisect_right(path, number, key=_first) - 1
        return place >= 0 and number <= path[place][1]

    def _path(self, head: int) -> list[Run]:
        """From the root."""
        path = self._known.get(head)
        if path is None:
            path, shared = self._walk(head)
            self._known[head] = path
            self._walked.update((path[place][0], (path, place)) for place in range(shared, len(path)))
        return path

    def _walk(self, head: int) -> tuple[list[Run], int]:
        """The path, and how many of its runs another one has."""
        runs: list[Run] = []
        for run in self._tree.runs(head):
            runs.append(run)
            if run[0] in self._walked:
                other, place = self._walked[run[0]]
                return [*other[:place], *reversed(runs)], place
        return runs[::-1], 0


def _first(run: Run) -> int:
    return run[0]

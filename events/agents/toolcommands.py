"""Which programs may run as tool servers: TOOL_COMMANDS. Starts none."""

import shlex
from collections.abc import Iterable, Sequence

from msgspec import Struct

from events.agents.upstreams import Refused

#: At an entry's end: any further arguments.
ANY = "*"


class ToolCommand(Struct, frozen=True):
    """One entry: the whole command line. `variables` are those that the program may be given; `more`: an
    agent's config may add arguments."""

    words: tuple[str, ...]
    variables: tuple[str, ...] = ()
    more: bool = False

    def __str__(self) -> str:
        variables = [f"{name}=" for name in self.variables]
        return shlex.join([*variables, *self.words]) + (f" {ANY}" if self.more else "")

    def means(self, words: Sequence[str]) -> bool:
        begun = tuple(words[: len(self.words)]) == self.words
        return begun and (self.more or len(words) == len(self.words))


def parsed(entry: str) -> ToolCommand:
    """`NAME_API_KEY= program argument *`, as a shell would split it. Raises ValueError."""
    words = shlex.split(entry)
    variables = []
    while words and words[0].endswith("="):
        variables.append(words.pop(0).removesuffix("="))
    if any(not name.endswith("API_KEY") for name in variables):
        raise ValueError("gives a program a variable whose name does not end in API_KEY")
    more = bool(words) and words[-1] == ANY
    words = words[:-1] if more else words
    if not words or ANY in words:
        raise ValueError("has an entry that is not a command line")
    return ToolCommand(tuple(words), tuple(variables), more)


class ToolCommands:
    """`listed` is TOOL_COMMANDS: without an entry nothing runs."""

    def __init__(self, listed: Iterable[ToolCommand] = ()) -> None:
        self._listed = tuple(listed)

    def check(self, words: Sequence[str], variables: Iterable[str]) -> None:
        """Whether an agent may have this command run, with these variables. Raises Refused."""
        entries = [entry for entry in self._listed if entry.means(words)]
        if not entries:
            raise Refused("command: TOOL_COMMANDS does not allow this command with these arguments")
        for name in variables:
            if not any(name in entry.variables for entry in entries):
                raise Refused(f"env: TOOL_COMMANDS does not give {name} to this command")

"""Uses as much of a processor as a file says, for nothing: `python -m tests.faults.stand_in FILE`."""

import sys
import time
from pathlib import Path

from tests.support.processes import give_way

#: Seconds of work at a time: as much as a client has to do for an answer.
PIECE = 0.0005


def main(share: Path) -> None:
    give_way()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        part = min(1.0, float(share.read_text() or 0))
        done = time.process_time() + PIECE
        while part and time.process_time() < done:
            pass
        time.sleep(PIECE / part - PIECE if part else 0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

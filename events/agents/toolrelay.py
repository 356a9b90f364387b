"""Runs a tool server, and ends it with everything that it started when the node that asked for it is gone.

A program of its own, of the standard library alone: `python toolrelay.py LINE_BYTES COMMAND ARGUMENT…`. What
comes in goes to the command, what the command writes goes out, line by line.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

#: Bytes of one read.
READ = 65536
#: Seconds for a server to end by itself after its input has ended, before it is killed.
GRACE = 1.0
#: Seconds for what a server wrote before its end to be passed on: something else may hold its output open.
LAST_WORDS = 1.0
#: Linux: the signal that a process is sent when its parent dies (prctl(2)).
PR_SET_PDEATHSIG = 1


def main(limit: int, command: list[str]) -> int:
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_dies_with_parent,
        )
    except OSError as error:
        sys.stderr.write(f"a tool server cannot be started: {error}\n")
        return 127
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    relayed = threading.Thread(target=_relay_output, args=(server, limit, ended), daemon=True)
    relayed.start()
    threading.Thread(target=_relay_input, args=(server, ended), daemon=True).start()
    threading.Thread(target=_wait, args=(server, ended), daemon=True).start()
    ended.wait()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE)
    relayed.join(LAST_WORDS if server.returncode is not None else 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    return 0


def _wait(server: "subprocess.Popen[bytes]", ended: threading.Event) -> None:
    server.wait()
    ended.set()


def _relay_input(server: "subprocess.Popen[bytes]", ended: threading.Event) -> None:
    assert server.stdin is not None
    with contextlib.suppress(OSError), server.stdin as target:
        while data := os.read(0, READ):
            target.write(data)
            target.flush()
    ended.set()


def _relay_output(server: "subprocess.Popen[bytes]", limit: int, ended: threading.Event) -> None:
    """A line that is too long ends the server: whoever reads it would have to hold it."""
    assert server.stdout is not None
    length = 0
    with contextlib.suppress(OSError):
        while data := os.read(server.stdout.fileno(), READ):
            first, *lines = data.split(b"\n")
            longest = max(length + len(first), *map(len, lines)) if lines else length + len(first)
            if longest > limit:
                sys.stderr.write(f"a tool server wrote a line of more than {limit} bytes\n")
                break
            length = len(lines[-1]) if lines else length + len(first)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    ended.set()


def _dies_with_parent() -> None:
    """Also where this program is killed itself. Only Linux knows how."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # Not sys.exit: a thread may hang in a write that nobody reads.
    code = main(int(sys.argv[1]), sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)

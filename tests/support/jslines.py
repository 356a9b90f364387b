"""A JavaScript client in a Node process of its own, under a test's control: one line in, one line out."""

import asyncio
import json
import subprocess
import threading
from concurrent.futures import Future
from itertools import count
from typing import Any

from tests.support.server import ROOT
from tests.support.services import program

FOLDER = ROOT / "tests" / "js"


class JsLines:
    """One process, for all tests of a file."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [program("node"), *command], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ids, self._waiting = count(), dict[int, Future[Any]]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["call"])
            if not waiting.set_running_or_notify_cancel():
                continue  # nobody waits for the answer any more
            if "error" in answer:
                waiting.set_exception(AssertionError(answer["error"]))
            else:
                waiting.set_result(answer.get("result"))

    async def call(self, command: str, *, timeout: float = 10, **given: Any) -> Any:
        number, future = next(self._ids), Future[Any]()
        self._waiting[number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": number, "command": command, **given}) + "\n")
        self._process.stdin.flush()
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)

    def new_name(self) -> str:
        return f"client-{next(self._ids)}"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # a test that failed has left something open
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        self._process.stdout.close()

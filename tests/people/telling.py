"""Stories in a real browser: what happens in them is told by a JavaScript file each."""

import asyncio
import os
import subprocess
from functools import cache

from tests.support.server import ROOT
from tests.support.services import program

PEOPLE = ROOT / "tests" / "people"


@cache
def shared() -> subprocess.Popen[str]:
    """The Chromium of this process's stories: to start one takes a second of a processor. It ends with its
    input, which is ours."""
    return subprocess.Popen(
        [program("node"), str(PEOPLE / "shared.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "CHROMIUM": program("chromium")},
        text=True,
    )


@cache
def browser() -> str:
    """Where it is."""
    told = shared().stdout
    assert told is not None
    address = told.readline().strip()
    assert address, "no Chromium"
    return address


async def tell(file: str, story: str, url: str, *more: str) -> str:
    """Run a story; its output. A failure shows where it was."""
    process = await asyncio.create_subprocess_exec(
        program("node"),
        str(PEOPLE / file),
        url,
        story,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "BROWSER": await asyncio.to_thread(browser)},
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-4000:]
    return output.decode()

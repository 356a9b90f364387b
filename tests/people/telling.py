"""Stories in a real browser: what happens in them is told by a JavaScript file each."""

import asyncio
import os

from tests.support.server import ROOT
from tests.support.services import program


async def tell(file: str, story: str, url: str, *more: str) -> str:
    """Run a story; its output. A failure shows where it was."""
    process = await asyncio.create_subprocess_exec(
        program("node"),
        str(ROOT / "tests" / "people" / file),
        url,
        story,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CHROMIUM": program("chromium")},
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-4000:]
    return output.decode()

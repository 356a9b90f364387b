"""An agent of your own: a worker that answers what people ask, piece by piece.

    pip install ./clients/python
    AGENT_TOKEN=... python worker.py http://127.0.0.1:8003

Run as many as you like: each request goes to one of them.
"""

import asyncio
import os
import sys

from parley_client import Answer, ParleyError, Worker

worker = Worker(
    sys.argv[1], token=os.environ["AGENT_TOKEN"], ready=lambda: print("waiting for requests", flush=True)
)


@worker.answers
async def think(answer: Answer) -> None:
    """Put your model here. What is asked while it writes (`when_busy: "steer"`) it may take up; what it
    leaves is the next request."""
    before = len(answer.history)
    for some in ("They may want to know ", "how much was said before."):
        await answer.reasoning(some)
    tool = await answer.tool("count_messages", {})
    await tool.output(before)
    for word in f"You said “{answer.asked}”, and {before} messages came before.".split(" "):
        await answer.text(word + " ")
        for question in await answer.take_up():
            await answer.text(f"(And “{question['content']}”.) ")
        await asyncio.sleep(0.05)
    await answer.source("https://example.org/counting", title="How to count")


try:
    worker.serve()
except ParleyError as error:
    sys.exit(str(error))  # somebody has to renew the token

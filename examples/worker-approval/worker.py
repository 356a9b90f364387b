"""An agent that does nothing before somebody has allowed it, whatever is restarted meanwhile.

    pip install ./clients/python
    AGENT_TOKEN=... python worker.py http://127.0.0.1:8003

Asked for anything it shows what it would do, and waits. From then on it holds nothing: the server remembers
what it has shown, and hands the question out again, to this worker or to another, when it was answered.
"""

import asyncio
import os
import sys

from parley_client import Answer, ParleyError, Worker

worker = Worker(
    sys.argv[1], token=os.environ["AGENT_TOKEN"], ready=lambda: print("waiting for requests", flush=True)
)


async def pay(tool_call_id: str, euros: int) -> str:
    """What must happen once: `tool_call_id` stays the same however often this is tried. Put yours here."""
    await asyncio.sleep(0.1)
    return f"receipt {tool_call_id} over {euros} EUR"


@worker.answers
async def answer_it(answer: Answer) -> None:
    """Once up to the question, and once more from its beginning with what people said."""
    call = answer.call("pay")
    if call is None:
        await answer.text("I can pay that. ")
        call = await answer.tool("pay", {"euros": 5}, id="pay")
    if await answer.approved(call, "Pay 5 EUR?"):
        receipt = await pay(call.tool_call_id, call.input["euros"])
        await call.output(receipt)
        await answer.text(f"Paid: {receipt}.")
    else:
        await call.deny()
        await answer.text("Nothing was paid.")


try:
    worker.serve()
except ParleyError as error:
    sys.exit(str(error))  # somebody has to renew the token

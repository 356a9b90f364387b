"""Asks in the background, and reads the answer over as many connections as it takes.

`PARLEY_TOKEN` is a user's token.

    python background.py http://127.0.0.1:8003 "A question" [MODEL]

Kill it, and run it with the response's id in place of the question: it reads the rest, or all of it again.
"""

import os
import sys
import time

import openai


def main(url: str, asked: str, model: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ["PARLEY_TOKEN"])
    if not asked.startswith("resp_"):
        asked = client.responses.create(model=model, input=asked, background=True).id
        print(f"{asked} is being answered", flush=True)
    last = -1
    while True:
        try:
            # Numbers are the same for every reader, at every node: it goes on behind the last event.
            after = {"starting_after": last} if last >= 0 else {}
            for event in client.responses.retrieve(asked, stream=True, **after):
                last = event.sequence_number
                if event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
                elif hasattr(event, "response") and event.response.status not in ("queued", "in_progress"):
                    print(f"\n[{event.response.status}]", flush=True)
                    return
        except openai.APIConnectionError:  # its node is gone, or the network: another connection goes on
            time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "Echo")

"""Talks to an agent with OpenAI's own library. `PARLEY_TOKEN` is a user's token.

    python chat.py http://127.0.0.1:8003 [MODEL]

One question a line. All of them are one session, which everybody else in it watches live.
"""

import os
import sys

import openai


def main(url: str, model: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ["PARLEY_TOKEN"])
    session_id = None
    for line in sys.stdin:
        question = line.strip()
        if not question:
            continue
        # The session has the conversation: the question is enough. Without a session one is made.
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            stream=True,
            extra_body={"conversation": session_id} if session_id else {},
        )
        try:
            for chunk in stream:
                # The first chunk says which session it is.
                session_id = session_id or chunk.metadata["session_id"]
                print(chunk.choices[0].delta.content or "", end="", flush=True)
            print(flush=True)
        except openai.APIError as error:  # also an answer that was stopped, or broke off
            print(f"\n[{error.code}: {error.message}]", flush=True)
    print(f"session {session_id}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "Echo")

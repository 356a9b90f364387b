#!/bin/sh
# OpenAI's Python library repeats a POST by itself (two times by default) after a 408, 409, 429, 5xx or a connection that
# broke, and makes an idempotency key for it (`options.idempotency_key`), but sends none: the client has no name for
# the header. A server cannot tell the repeat of a request from a second one, other than by `x-stainless-retry-count`,
# which says that it is a repeat and not of which request. A 409 that says `x-should-retry: false` is not repeated; one that
# says nothing is, which surprises servers that mean by it that nothing will change.
# Who wants a repeat recognised gives the header with each call (`extra_headers`); it is the same in each repeat.
# Seen with openai 3.57.0, Python 3.11.
# Exits non-zero if this changes. Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check openai==3.57.0
cat >look.py <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai

seen, answers = [], []
WHOLE = {
    "id": "c", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        seen.append({name.lower(): value for name, value in self.headers.items()})
        status, more = answers.pop(0)
        body = json.dumps(WHOLE if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")


def ask(*given, **more):
    """The keys and counts of repeats of each request that one call made."""
    answers[:], seen[:] = given, []
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}], **more)
    except openai.APIStatusError:
        pass
    return [(each.get("idempotency-key"), each.get("x-stainless-retry-count")) for each in seen]


found = {
    "a 500, then the answer": ask((500, {}), (200, {})),
    "a 409, then the answer": ask((409, {}), (200, {})),
    "a 409 with x-should-retry": ask((409, {"x-should-retry": "false"})),
    "a key of one's own": ask((500, {}), (200, {}), extra_headers={"Idempotency-Key": "mine"}),
}
for name, requests in found.items():
    print(f"{name}: {requests}")
repeated = [(None, "0"), (None, "1")]
right = [repeated, repeated, [(None, "0")], [("mine", "0"), ("mine", "1")]]
sys.exit(0 if list(found.values()) == right else 1)
PY
env/bin/python look.py

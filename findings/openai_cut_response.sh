#!/bin/sh
# A stream of OpenAI's Responses API that ends before `response.completed`, as when a proxy or a worker behind it ends the
# connection in good order, is a whole response to the JavaScript library's helper: `finalResponse()` resolves, with the
# status `in_progress` and the text so far. The Python library's helper raises a RuntimeError, and does so, too, after
# `response.incomplete`, where the answer is there (JavaScript's gives it). Nor does either library's helper tell the
# server where to go on: `stream({response_id, starting_after})` sends no `starting_after`, asks for the whole response,
# and leaves out what its caller has; a server that began at that place would break it.
# A program that streams has to look at `status` itself; a server has to end a stream that is cut with an `error` event.
# Seen with openai 3.57.0 (Python 3.11) and openai 7.59.0 (Node 20).
# Exits non-zero if this changes. Needs python3 with venv, node and npm.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check openai==3.57.0
npm install --silent --no-audit --no-fund --prefix js openai@7.59.0 2>/dev/null
cat >js/look.mjs <<'JS'
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
for (const model of ["cut", "incomplete"]) {
  const told = await client.responses.stream({ model, input: "?" }).finalResponse()
    .then(({ status, output_text }) => `${status} ${output_text}`, (error) => error.constructor.name);
  console.log(`javascript ${model}: ${told}`);
}
await client.responses.stream({ response_id: "r", starting_after: 3 }).finalResponse();
JS
cat >look.py <<'PY'
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai

asked = []
RESPONSE = {
    "id": "r", "object": "response", "created_at": 0, "model": "m", "status": "in_progress", "output": [],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
ITEM = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
AT = {"item_id": "i", "output_index": 0, "content_index": 0}
BEGINNING = [
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
    {"type": "response.content_part.added", **AT, "part": PART},
    {"type": "response.output_text.delta", **AT, "delta": "So far", "logprobs": []},
]
DONE = {**ITEM, "status": "incomplete", "content": [{**PART, "text": "So far"}]}
END = {
    "type": "response.incomplete",
    "response": {
        **RESPONSE, "status": "incomplete", "output": [DONE], "incomplete_details": {"reason": "max_output_tokens"},
    },
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer([*BEGINNING, END] if body["model"] == "incomplete" else BEGINNING)

    def do_GET(self):
        asked.append(self.path)
        self.answer(BEGINNING)

    def answer(self, events):
        body = "".join(
            f"event: {event['type']}\ndata: {json.dumps({'sequence_number': number, **event})}\n\n"
            for number, event in enumerate(events)
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
seen = []
for model in ("cut", "incomplete"):
    with client.responses.stream(model=model, input="?") as stream:
        try:
            told = stream.get_final_response().status
        except RuntimeError as error:
            told = f"RuntimeError {error}"
    seen.append(f"python {model}: {told}")
with client.responses.stream(response_id="r", starting_after=3) as stream:
    stream.until_done()
js = subprocess.run(["node", "js/look.mjs", url], capture_output=True, text=True, check=True)
seen += js.stdout.splitlines()
print(*seen, *asked, sep="\n")
RAISES = "RuntimeError Didn't receive a `response.completed` event."
assert seen == [
    f"python cut: {RAISES}", f"python incomplete: {RAISES}",
    "javascript cut: in_progress So far", "javascript incomplete: incomplete So far",
], seen
assert len(asked) == 2 and not any("starting_after" in path for path in asked), asked
sys.exit(0)
PY
env/bin/python look.py

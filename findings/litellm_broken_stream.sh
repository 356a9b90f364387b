#!/bin/sh
# LiteLLM ends a broken stream as if it were whole. Where the server of an OpenAI-compatible model breaks off in the
# middle (chunks with text, then the end of the body: no finish_reason, no [DONE]), LiteLLM's own stream goes on to a
# chunk with finish_reason "stop": in the library, and so behind its proxy, which adds [DONE] and a usage of its own count.
# Who takes "stop" for a whole answer stores half of one. Of a refusal in pieces (delta.refusal) only the first is kept.
# Seen with litellm 1.108.7. Exits non-zero if this changes. Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check litellm==1.108.7
cat >look.py <<'PY'
import http.server
import json
import threading

import litellm

litellm.suppress_debug_info = True


def chunk(delta):
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n".encode()


class Breaking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        field = asked["messages"][0]["content"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(chunk({"role": "assistant", field: "half "}) + chunk({field: "of it"}))

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Breaking)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"api_base": f"http://127.0.0.1:{server.server_port}/v1", "api_key": "none", "stream": True}


def ask(field):
    said, reason = "", None
    for part in litellm.completion(model="openai/m", messages=[{"role": "user", "content": field}], **place):
        said += getattr(part.choices[0].delta, field, None) or ""
        reason = part.choices[0].finish_reason or reason
    return said, reason


text, refusal = ask("content"), ask("refusal")
print("a text that breaks off:", text)
print("a refusal in two pieces:", refusal)
raise SystemExit(0 if text == ("half of it", "stop") and refusal[0] == "half " else 1)
PY
LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python look.py

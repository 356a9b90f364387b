#!/bin/sh
# `call()` of python-socketio's asynchronous client waits for the whole of its timeout where the connection ends before
# the acknowledgement: it raises TimeoutError, not DisconnectedError, also when the client knows of the end at once. The
# official JavaScript client's `emitWithAck` is refused at once ("socket has been disconnected").
# Seen with python-socketio 5.18.1, aiohttp 3.14.5 (Python 3.11) and socket.io-client 4.8.1 (Node 20).
# Exits non-zero if this changes. Needs python3 with venv, node and npm.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check python-socketio==5.18.1 aiohttp==3.14.5
npm install --silent --no-audit --no-fund --prefix js socket.io-client@4.8.1 2>/dev/null
cat >js/look.mjs <<'JS'
import { io } from "socket.io-client";
const socket = io(process.argv[2], { transports: ["websocket"], reconnection: false });
socket.on("connect", async () => {
  const error = await socket.timeout(5000).emitWithAck("ask").catch((error) => error);
  console.log(error.message);
  socket.close();
});
JS
cat >look.py <<'PY'
import asyncio
import sys
import time

import socketio
from aiohttp import web

server = socketio.AsyncServer(async_mode="aiohttp")


@server.event
async def ask(sid):
    await server.disconnect(sid)
    await asyncio.sleep(60)


async def main():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = socketio.AsyncClient(reconnection=False)
    ended = []
    client.on("disconnect", lambda reason: ended.append(time.monotonic() - began))
    await client.connect(url, transports=["websocket"])
    began = time.monotonic()
    try:
        raise SystemExit(f"answered with {await client.call('ask', timeout=5)!r}")
    except socketio.exceptions.SocketIOError as error:
        took, kind = time.monotonic() - began, type(error).__name__
    node = await asyncio.create_subprocess_exec("node", "js/look.mjs", url, stdout=asyncio.subprocess.PIPE)
    told = (await node.communicate())[0].decode().strip()
    print(f"python: the end after {ended[0]:.1f} s, {kind} after {took:.1f} s")
    print("javascript:", told)
    assert kind == "TimeoutError" and took >= 4.9 and ended[0] < 2, (kind, took, ended)
    assert told == "socket has been disconnected", told
    await runner.cleanup()


asyncio.run(main())
sys.exit(0)
PY
env/bin/python look.py

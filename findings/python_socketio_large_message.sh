#!/bin/sh
# python-socketio's asynchronous client takes no message of more than 4 MiB over WebSocket: aiohttp, which it stands on,
# ends the connection (close code 1009), the client reports "transport error" and comes back, and meets the same message
# again: a reply to a join that has grown so large keeps it away for ever, without an error that names the size.
# The official JavaScript client takes the message. `websocket_extra_options={"max_msg_size": 0}` takes the bound away.
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
const socket = io(process.argv[2], { transports: ["websocket"] });
socket.on("connect", () => socket.emit("join"));
socket.on("page", ({ length }) => {
  console.log(length);
  socket.close();
});
JS
cat >look.py <<'PY'
import asyncio
import sys

import socketio
from aiohttp import web

SIZE = 4 * 1024 * 1024 + 1
connects = 0
server = socketio.AsyncServer(async_mode="aiohttp")


@server.event
async def connect(sid, environ, auth):
    global connects
    connects += 1


@server.event
async def join(sid):
    await server.emit("page", "x" * SIZE, to=sid)


async def received(url, seconds, **options):
    client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.1, **options)
    lengths, reasons = [], []
    client.on("connect", lambda: client.start_background_task(client.emit, "join"))
    client.on("page", lambda text: lengths.append(len(text)))
    client.on("disconnect", lambda reason: reasons.append(reason))
    await client.connect(url, transports=["websocket"])
    async with asyncio.timeout(seconds):
        while not lengths and len(reasons) < 3:
            await asyncio.sleep(0.05)
    await client.shutdown()
    return lengths, reasons


async def main():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    plain = await received(url, 20)
    again = connects
    wide = await received(url, 20, websocket_extra_options={"max_msg_size": 0})
    node = await asyncio.create_subprocess_exec("node", "js/look.mjs", url, stdout=asyncio.subprocess.PIPE)
    told = (await node.communicate())[0].decode().strip()
    print("by default:", *plain, f"{again} connects")
    print("without a bound:", *wide)
    print("javascript:", told)
    assert plain[0] == [] and plain[1][:3] == ["transport error"] * 3 and again >= 3, (plain, again)
    assert wide[0] == [SIZE] and told == str(SIZE), (wide, told)
    await runner.cleanup()


asyncio.run(main())
sys.exit(0)
PY
env/bin/python look.py

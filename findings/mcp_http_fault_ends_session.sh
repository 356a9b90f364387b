#!/bin/sh
# A connection that breaks under one call of a tool ends the whole session of the MCP client over streamable HTTP: calls
# that run beside it, each on a connection of its own that is whole, fail with it ("Connection closed"), the task
# within `async with Client(...)` is cancelled, and leaving it raises an ExceptionGroup of the network's error.
# Who holds one client for several callers gives it a task of its own, and a transport of httpx2 that answers a fault of
# the network with a response (502, and a JSON-RPC error as its body): then it is the error of its own call alone.
# Seen with mcp 2.3.0 and httpx2 2.16.2, Python 3.11.
# Exits non-zero if this changes. Needs python3 with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0 httpx2==2.16.2
cat >server.py <<'PY'
import asyncio
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("test")


@server.tool()
async def slow() -> str:
    await asyncio.sleep(2)
    return "done"


@server.tool()
async def other() -> str:
    return "never comes through"


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
PY
cat >look.py <<'PY'
import asyncio
import socket
import subprocess
import sys

import httpx2
from mcp import Client


async def relay(reader, writer, port):
    """Passes bytes on; a request for the tool `other` ends its connection."""
    there, back = await asyncio.open_connection("127.0.0.1", port)

    async def answers():
        while data := await there.read(65536):
            writer.write(data)

    task = asyncio.create_task(answers())
    while data := await reader.read(65536):
        if b'"name":"other"' in data:
            break
        back.write(data)
    task.cancel()
    writer.close()
    back.close()


async def called(client, name):
    try:
        return (await client.call_tool(name)).content[0].text
    except BaseException as error:
        return type(error).__name__


async def main():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "server.py", str(port)], **quiet)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            await asyncio.sleep(0.1)
    between = await asyncio.start_server(lambda r, w: relay(r, w, port), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{between.sockets[0].getsockname()[1]}/mcp"
    calls, left = [], "as if nothing had been"
    try:
        async with Client(url) as client:
            await client.list_tools()
            calls = [asyncio.ensure_future(called(client, name)) for name in ("slow", "other")]
            await asyncio.sleep(1)
            left = "still there"
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        left = type(error).__name__
    finally:
        server.kill()
        server.wait()
    told = [await call for call in calls]
    print(f"the call beside it: {told[0]}; the call: {told[1]}; the session: {left}")
    return (left, told) == (httpx2.RemoteProtocolError.__name__, ["MCPError", "MCPError"])


sys.exit(0 if asyncio.run(main()) else 1)
PY
env/bin/python look.py 2>/dev/null

#!/bin/sh
# uvloop's transports are none of asyncio's classes: `isinstance(transport, asyncio.Transport)` is False, and so it is
# for BaseTransport, ReadTransport and WriteTransport, in a server's `connection_made` as in what `open_connection`
# gives. A check or an assertion that narrows the type holds under asyncio's own loop and fails under uvloop.
# Seen with uvloop 0.23.0. Exits non-zero if this changes. Needs python3 (3.11 or newer) with venv.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0
cat >"$folder/look.py" <<'PY'
import asyncio
import sys

import uvloop

KINDS = (asyncio.BaseTransport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.Transport)


async def look() -> list[bool]:
    made = asyncio.get_running_loop().create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(transport)

    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    seen = [isinstance(transport, kind) for transport in (await made, writer.transport) for kind in KINDS]
    writer.close()
    server.close()
    return seen


own, theirs = asyncio.run(look()), uvloop.run(look())
print("asyncio's own loop:", own)
print(f"uvloop {uvloop.__version__}:", theirs)
sys.exit(not (all(own) and not any(theirs)))
PY
"$folder/venv/bin/python" "$folder/look.py"

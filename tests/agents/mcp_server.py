"""A server of tools, by the `mcp` package's own classes: `python mcp_server.py stdio`, or a port for HTTP.

The variable TRACE names a file that calls are written to.
"""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

server = MCPServer("test")
trace = Path(os.environ.get("TRACE", os.devnull))
meeting: list[asyncio.Event] = []


def traced(line: str) -> None:
    with trace.open("a") as file:
        file.write(f"{line}\n")


@server.tool(title="Addition")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    traced(f"add {a} {b}")
    return a + b


@server.tool()
async def meet() -> str:
    """Comes back when two calls of it run at once."""
    meeting.append(asyncio.Event())
    if len(meeting) == 2:
        for event in meeting:
            event.set()
    await meeting[0].wait()
    return "met"


@server.tool()
async def wait() -> str:
    """Waits for ever."""
    traced("waiting")
    try:
        await asyncio.Event().wait()
    finally:
        traced("cancelled")
    return ""


@server.tool()
async def refuse() -> str:
    raise ToolError("not on a Sunday")


@server.tool()
async def crash() -> str:
    traced("crash")
    os._exit(1)


@server.tool()
async def write(size: int) -> str:
    return "x" * size


@server.tool()
async def look() -> list[TextContent | ImageContent | ResourceLink | EmbeddedResource]:
    text = TextResourceContents(uri="https://docs.example/a", text="All of it.")
    blob = BlobResourceContents(uri="file:///b", blob="aGk=", mime_type="application/pdf")
    return [
        TextContent(type="text", text="See"),
        ImageContent(type="image", data="aGk=", mime_type="image/png"),
        ResourceLink(type="resource_link", name="b", title="Guide", uri="https://docs.example/b"),
        ResourceLink(type="resource_link", name="c", uri="file:///c"),
        EmbeddedResource(type="resource", resource=text),
        EmbeddedResource(type="resource", resource=blob),
    ]


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))

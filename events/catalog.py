"""Every command: its name, schema, action and rate bucket."""

from dataclasses import dataclass

from msgspec import Struct

from events import schema


@dataclass(frozen=True, slots=True)
class Command:
    """`bucket` is a kind of `events.ratelimit`. `pipelined`: may begin while writes before it are on their
    way to their commit. `sockets_only`: makes no sense without a connection."""

    name: str
    schema: type[Struct]
    bucket: str | None = None
    pipelined: bool = False
    sockets_only: bool = False


CATALOG: dict[str, Command] = {
    command.name: command
    for command in (
        Command("join", schema.Join, sockets_only=True),
        Command("leave", schema.Leave, sockets_only=True),
        Command("message", schema.SendMessage, "message", pipelined=True),
        Command("edit", schema.Edit, "message", pipelined=True),
        Command("delete", schema.Delete, "message"),
        Command("file", schema.PostFile, "message"),
        Command("typing", schema.Typing, "typing", pipelined=True),
        Command("presence", schema.Presence, pipelined=True),
        Command("read", schema.Read),
        Command("history", schema.History),
        Command("stream_start", schema.StreamStart, "message"),
        Command("stream_chunk", schema.StreamChunk, pipelined=True),
        Command("stream_end", schema.StreamEnd),
        Command("stream_cancel", schema.StreamCancel),
        Command("stream_resume", schema.StreamResume),
        Command("auth_refresh", schema.AuthRefresh, sockets_only=True),
    )
}

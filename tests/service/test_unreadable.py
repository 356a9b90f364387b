"""What no command can be made of: it waits in line as a command does, and is refused at a pace."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from events.bounds import REFUSALS
from tests.engine.kit import BINARY, TEXT, Raw, masked, socketio
from tests.support.doors import new_session
from tests.support.server import Server

LARGE = b"x" * 3_000
ATTACHED = masked(TEXT, b'451-["x",{"_placeholder":true,"num":0}]') + masked(BINARY, b"x")
CODES = (b"VALIDATION_ERROR", b"UNKNOWN_COMMAND", b"PAYLOAD_TOO_LARGE")

#: By the door that it comes to.
UNREADABLE = {
    "text": ("websocket", masked(TEXT, b"{")),
    "no name": ("websocket", masked(TEXT, b'{"x":1}')),
    "another session": ("websocket", masked(TEXT, b'{"type":"typing","session_id":"s"}')),
    "large ref": ("websocket", masked(TEXT, b'{"type":"typing","ref":"%b"}' % LARGE[:1500])),
    "binary": ("websocket", masked(BINARY, b"x")),
    "large": ("websocket", masked(TEXT, b'{"type":"typing","x":"%b"}' % LARGE)),
    "packet": ("socketio", masked(TEXT, b"42{")),
    "reserved": ("socketio", masked(TEXT, b'42["connect"]')),
    "attachment": ("socketio", ATTACHED),
    "large packet": ("socketio", masked(TEXT, b'42["typing","%b"]' % LARGE)),
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A node whose messages are small."""
    from migrations.run import upgrade

    folder = tmp_path_factory.mktemp("narrow")
    url = f"sqlite:///{folder}/parley.db"
    upgrade(url)
    sizes = {"WS_MESSAGE_SIZE_LIMIT": "2048", "WS_FRAME_SIZE_LIMIT": "8192"}
    with Server(folder, url, RATE_LIMIT_ENABLED="true", **sizes) as node:
        yield node


async def entered(node: Server, user: str, kind: str = "websocket") -> Raw:
    room, token = await new_session(node, user), node.token(user)
    if kind == "socketio":
        return (await socketio(node.port, {"token": token}))[0]
    raw = await Raw.websocket(node.port, f"/ws/{room}", {"Authorization": f"Bearer {token}"})
    assert json.loads(await raw.next_text())["type"] == "welcome"
    return raw


async def answered(raw: Raw) -> dict[str, Any]:
    """The next answer, whatever happens in the room."""
    while (said := json.loads(await raw.next_text()))["type"] not in ("ack", "error"):
        pass
    return dict(said)


async def told(node: Server, what: str) -> int:
    """Refusals within a second and a half, of many that came in one piece."""
    kind, frames = UNREADABLE[what]
    count = 0
    async with await entered(node, f"mallory, {what}", kind) as raw:
        raw.send(frames * 300)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while count < 300:
                    said = (await raw.receive())[1]
                    count += any(code in said for code in CODES)
    return count


async def test_a_flood_goes_at_the_pace_of_its_refusals(narrow: Server) -> None:
    """None of it passes what waits before it."""
    counts = await asyncio.gather(*(told(narrow, what) for what in UNREADABLE))
    wrong = {what: n for what, n in zip(UNREADABLE, counts, strict=True) if not REFUSALS <= n <= REFUSALS + 5}
    assert not wrong


async def test_a_refusal_keeps_its_place_in_line(narrow: Server) -> None:
    async with await entered(narrow, "ada") as raw:
        said = [b'{"type":"history","ref":1}', b'{"type":7,"ref":2}', b'{"type":"history","ref":3}', b"{"]
        raw.send(b"".join(masked(TEXT, one) for one in said))
        answers = [await answered(raw) for _ in said]
    assert [one.get("ref") for one in answers] == [1, 2, 3, None]
    assert answers[3]["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("kind", ['"typing"', '"nothing"', "7"])
@pytest.mark.parametrize("ref", [["x"] * 300, "x" * 1500, {"a": [{}] * 400}], ids=["list", "text", "objects"])
async def test_a_ref_is_small(narrow: Server, kind: str, ref: Any) -> None:
    """It is kept with a command that waits, whatever becomes of that."""
    async with await entered(narrow, "eve") as raw:
        said = f'{{"type":{kind},"is_typing":true,"ref":{json.dumps(ref)}'
        raw.text(said + "}")
        answer = await answered(raw)
        assert (answer["type"], answer["code"]) == ("error", "VALIDATION_ERROR")
        raw.text(said)  # nor where the rest is no JSON
        assert (await answered(raw))["type"] == "error"
        raw.text('{"type":"history","ref":{"any":["thing"]}}')
        assert (await answered(raw))["ref"] == {"any": ["thing"]}

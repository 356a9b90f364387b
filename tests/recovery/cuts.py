"""The official client, unmodified, behind a network that breaks in every way."""

import random
from collections import Counter

from tests.recovery.watching import Traffic, all_seen, check, three_sessions
from tests.support.jsclient import JsClients, JsSocket
from tests.support.proxy import Proxy
from tests.support.server import Server

KINDS = ("abrupt", "half-open", "mid-frame", "client reset", "client half-open", "at once")


async def cut_again_and_again(
    server: Server, js: JsClients, cuts: int, *, transports: list[str] | None = None, seed: int = 7
) -> Counter[str]:
    """How many cuts of each kind were recovered from; raises AssertionError at the first that was not."""
    dice = random.Random(seed)
    sessions = await three_sessions(server)
    counts: Counter[str] = Counter()
    async with Proxy(server.port) as proxy:
        reader = await js.open(proxy.url, server.token("bob"), transports=transports)
        for session in sessions:
            ack = await reader.emit("join", {"session_id": session})
            assert ack["ok"], ack
        sid = (await reader.state())["id"]
        async with Traffic(server, sessions, server.token("alice")) as traffic:
            for number in range(cuts):
                kind = "at once" if number == 0 else dice.choice(KINDS)
                if kind.startswith("client") and (await reader.state())["transport"] != "websocket":
                    kind = "abrupt"  # only a WebSocket's socket can be taken hold of
                mark = reader.mark()
                if kind != "at once":
                    await reader.wait_count("message", dice.randint(1, 4), since=mark)
                    mark = reader.mark()
                if transports == ["polling"]:
                    # Between two requests there is nothing to cut: be gone until it is noticed.
                    proxy.refusing = True
                    (proxy.half_open if kind == "half-open" else proxy.cut)()
                    await reader.wait_event("disconnect", since=mark, timeout=20)
                    proxy.refusing = False
                else:
                    await break_it(proxy, reader, kind, dice)
                connected = await reader.connected(since=mark, timeout=20)
                assert connected["recovered"], f"cut {number} ({kind}) was not recovered from"
                assert connected["id"] == sid
                counts[kind] += 1
            await traffic.stop()
            await all_seen(reader, server, sessions)
            check(reader, traffic)
            assert not reader.named("typing")
    return counts


async def break_it(proxy: Proxy, reader: JsSocket, kind: str, dice: random.Random) -> None:
    """One fault of the network."""
    if kind in ("abrupt", "at once"):
        proxy.cut()
    elif kind == "half-open":
        proxy.half_open()
    elif kind == "mid-frame":
        proxy.cut_after(dice.randint(1, 400))
    elif kind == "client reset":
        await reader.cut()
    else:
        await reader.half_open()

"""/metrics says what was really done to a server; the dashboard asks for what there is."""

import asyncio
import json
import re

from prometheus_client.parser import text_string_to_metric_families

from tests.support.doors import enter, new_session
from tests.support.server import ROOT, Server
from tests.support.web import web_client

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(server: Server) -> Samples:
    async with web_client(base_url=server.url) as web:
        text = (await web.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_what_is_told_is_what_was_done(server: Server) -> None:
    before = await scrape(server)
    session_id = await new_session(server, "alice", members=("bob", "carol"))
    async with (
        enter("socketio", server, "alice", session_id) as alice,
        enter("websocket", server, "bob", session_id) as bob,
        enter("rest", server, "carol", session_id) as carol,
    ):
        for number in range(7):
            await alice.message(f"message {number}", client_message_id=str(number))
        await alice.message("again", client_message_id="0")
        for door in (bob, carol):
            await door.wait_event("message", lambda m: m["content"] == "message 6")
        assert not (await bob.call("edit", message_id="nothing", content="x"))["ok"]
        stream = (await bob.call("stream_start"))["message_id"]
        for index in range(3):
            await bob.call("stream_chunk", message_id=stream, index=index, content="piece")
        assert value(await scrape(server), "parley_open_streams") == 1
        await bob.call("stream_end", message_id=stream)
        await carol.wait_event("stream_end")
        during = await scrape(server)
    after = await scrape(server)
    async with asyncio.timeout(10):
        while value(after, "parley_rooms") or value(after, "parley_connections", transport="sse"):
            after = await scrape(server)  # the server hears of an end when it comes to it

    def grown(name: str, **labels: str) -> float:
        return value(during, name, **labels) - value(before, name, **labels)

    assert grown("parley_commands_total", command="message", outcome="ok") == 8
    assert grown("parley_commands_total", command="edit", outcome="MESSAGE_NOT_FOUND") == 1
    assert grown("parley_command_seconds_count", command="message") == 8
    assert 0 < grown("parley_command_seconds_sum", command="message") < 30
    for transport in ("socketio", "websocket", "sse"):
        assert grown("parley_connects_total", transport=transport) == 1
        assert value(during, "parley_connections", transport=transport) == 1
        assert value(after, "parley_connections", transport=transport) == 0
    assert value(during, "parley_rooms") == 1
    assert value(after, "parley_rooms") == 0
    # Three members, seven messages that were told once each.
    assert grown("parley_deliveries_total", event="message") == 21
    assert grown("parley_streams_total", outcome="started") == 1
    assert grown("parley_streams_total", outcome="complete") == 1
    assert 2 <= grown("parley_commit_seconds_count") <= grown("parley_commit_writes_sum")
    assert grown("parley_commit_writes_sum") >= 9
    assert value(during, "parley_bus_live") == 1
    assert value(during, "parley_draining") == 0
    ended = sum(count for (name, _), count in after.items() if name == "parley_disconnects_total")
    assert ended == 3


async def test_the_dashboard_asks_for_metrics_that_there_are(house: Server) -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked += [str(variable["query"]) for variable in dashboard["templating"]["list"]]
    async with web_client(base_url=house.url) as web:
        text = (await web.get("/metrics")).text
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    for expression in asked:
        for name in re.findall(r"\b((?:parley|process)_\w+)", expression):
            family = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert {name, family, f"{family}_total"} & there, name
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))

"""A user of Redis with a node's rights and no other, as documents and examples give it; and one with less."""

import asyncio
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from storage.errors import StorageUnavailable
from storage.interfaces import Mark
from storage.redis.link import error_code
from tests.redis.conftest import Side, answer, chunk, durable, in_redis, logged
from tests.redis.test_endpoint import Special
from tests.support.services import program

ROOT = Path(__file__).resolve().parents[2]
URL = "redis://parley:PASSWORD@127.0.0.1:{port}/2"
ADMIN = ["--user", "admin", "on", ">admin", "~*", "&*", "+@all"]


def documented(user: str) -> list[str]:
    """The words of a user's line in docs/operations.md, from "on" on."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(rf"^user {user} (.+)$", text, re.MULTILINE)
    assert found is not None
    return found[1].split(" ")


def server(*words: str) -> Special:
    """With the prefix of these tests, and somebody who may look."""
    options = [word.replace("chat:", "test:") for word in words]
    return Special("--user", "default", "off", "--user", "parley", *options, *ADMIN, url=URL)


def denied(redis: Special) -> str:
    command = [program("redis-cli"), "-p", str(redis.port), "--user", "admin", "--pass", "admin"]
    done = subprocess.run([*command, "ACL", "LOG"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def rights(words: list[str]) -> list[str]:
    return words[2:]  # behind "on" and the password


def test_the_examples_give_what_the_documents_say() -> None:
    wanted = rights(documented("parley"))
    composed = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    command = composed["services"]["redis"]["command"]
    assert rights(command[command.index("parley") + 1 :]) == wanted
    lines = (ROOT / "deploy" / "Procfile.cluster").read_text().splitlines()
    words = shlex.split(next(line for line in lines if line.startswith("redis: ")))
    assert rights(words[words.index("parley") + 1 :]) == wanted


async def everything(side: Side) -> None:
    """Each thing that a node does with Redis."""
    await side.bus.connect(side.ears)
    await side.bus.subscribe(["session:A", "user:alice"])
    await side.log.open("A", Mark(0, 0))
    await answer(side.log.append("A", [durable(1, stream="s", closed=False), logged("l")]))
    await answer(side.streams.append(chunk("s", 0, "a", "b"), 1, ["a", "b"]))
    await side.log.read({"A": 0}, True)
    await side.log.last(["A"])
    await side.streams.renew({"s": 5})
    await side.streams.lapsed(["s"])
    await side.streams.read("A", "s")
    await side.streams.close("A", "s")
    await side.log.reset("A", Mark(9, 9))
    epoch = await side.bus.echo()
    await side.records.put("p", epoch, 0, 1, b"record")
    await side.records.take("p", b"")
    await side.records.expire(["p"], 5)
    await side.records.expire(["p"], 0)
    await answer(side.presence.enter("A", "alice", "online"))
    await side.presence.beat({"A": {"alice": ("online", 1)}})
    await side.presence.beat({"A": {"alice": ("online", 1)}})
    await side.presence.online("A")
    await side.presence.goodbye()
    await side.presence.address("n1")
    await side.presence.leave("A", "alice")
    await answer(side.buckets.take("b", 1, 1))
    side.bus.publish("user:alice", logged())
    side.bus.signal("all", "cancel", b"m")
    side.log.forget("A")
    assert await side.cluster.client.time() is not None
    side.bus.unsubscribe("user:alice")
    await side.settled()
    assert ("all", "cancel", b"m") in side.ears.signals


async def test_the_documented_user_may_do_all_that_a_node_does() -> None:
    with server(*documented("parley")) as redis:
        side = in_redis(redis)
        await everything(side)
        await side.close()
        assert denied(redis) == ""


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "SET other:key 1", "ACL LIST"])
async def test_it_may_do_nothing_else(command: str) -> None:
    with server(*documented("parley")) as redis:
        side = in_redis(redis)
        await side.bus.connect(side.ears)
        with pytest.raises(StorageUnavailable, match="NOPERM"):
            await side.cluster.client.call(*command.split(" "))
        await side.close()


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ("+evalsha", "evalsha"),
        ("+script|load", "script"),
        ("+subscribe", "subscribe"),
        ("+publish", "redis.call\\('PUBLISH'"),
        ("+@write", "redis.call\\('HSET'"),
        ("+info", "info"),
        ("~chat:*", "key"),
        ("&chat:*", "channel"),
    ],
)
async def test_a_right_that_is_missing_is_named_in_the_log(
    without: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = [word for word in documented("parley") if word != without]
    # Before Redis 7 a new user has all channels.
    with server("resetchannels", *words) as redis:
        side = in_redis(redis, timeout=0.3)
        with pytest.raises((StorageUnavailable, TimeoutError)):
            async with asyncio.timeout(5):
                await everything(side)
        await side.close()
    lines = [r.getMessage() for r in caplog.records if "this user may not do" in r.getMessage()]
    assert lines and re.search(told, lines[0])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("READONLY You can't write against a read only replica. script: f00, on @user_script:1.", "READONLY"),
        (
            "ERR Error running script (call to f_f00): @user_script:1: @user_script: 1: -READONLY You can't "
            "write against a read only replica. ",
            "READONLY",
        ),
        (
            "ERR Error running script (call to f_f00): @user_script:1: @user_script: 1: -LOADING Redis loads",
            "LOADING",
        ),
        ("ERR Error running script (call to f_f00): @user_script:1: a number - NaN is no number", "ERR"),
        ("ERR The user executing the script can't run this command or subcommand", "NOPERM"),
        (
            "ERR ACL failure in script: User parley has no permissions to run the 'publish' command script: "
            "f00, on @user_script:1.",
            "NOPERM",
        ),
        ("NOPERM this user has no permissions to run the 'evalsha' command", "NOPERM"),
    ],
)
def test_what_an_error_is_about(text: str, code: str) -> None:
    assert error_code(text) == code

"""Redis as it was before, in the same process: as after a snapshot, an old dump or a stale replica."""

import time
from typing import Any

import redis as client

from tests.support.services import Redis

_PUT_BACK = """
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', key) end
for i = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
"""


class Past:
    """All keys as of the moment it is made."""

    def __init__(self, redis: Redis) -> None:
        self._client = client.Redis(port=redis.port)
        self._words: list[Any] = []
        for key in self._client.keys("*"):
            ttl, dump = self._client.pttl(key), self._client.dump(key)
            if dump is not None:
                self._words += (key, max(0, ttl), dump)

    def put_back(self) -> None:
        """In one step: no connection breaks, and the server's run id stays."""
        self._client.eval(_PUT_BACK, 0, *self._words)

    def close(self) -> None:
        self._client.close()


def go_back_to(replica: Redis, master: Redis, timeout: float = 20) -> None:
    """`master` takes over all that `replica` has and is a master again, under the run id that it had."""
    master.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    replica.cli("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    master.cli("REPLICAOF", "127.0.0.1", str(replica.port))
    deadline = time.monotonic() + timeout
    while "master_link_status:up" not in master.cli("INFO", "replication"):
        if time.monotonic() > deadline:
            raise TimeoutError("the master did not take the replica's data")
        time.sleep(0.01)
    master.cli("REPLICAOF", "NO", "ONE")


def follow(replica: Redis, master: Redis, timeout: float = 20) -> None:
    """`replica` has all that `master` has now, and from here on no more of it."""
    go_back_to(master, replica, timeout)

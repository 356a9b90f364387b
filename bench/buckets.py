"""What a token bucket costs in process: `python -m bench.buckets`. Measured the way it is asked: by key."""

import time
from itertools import cycle

from events.access import Caller
from events.bounds import CAPS
from events.ratelimit import RateLimits
from storage.buckets import MemoryBuckets

ROUNDS = 200_000


def main() -> None:
    buckets = MemoryBuckets(time.monotonic)
    keys = cycle([f"message:user{number}" for number in range(1000)])
    began = time.perf_counter()
    for _ in range(ROUNDS):
        buckets.take(next(keys), 60.0, 1.0)
    print(f"take, 1,000 users: {(time.perf_counter() - began) / ROUNDS * 1e6:.2f} µs")
    figures = {cap.setting: 0 for cap in CAPS} | {"rate_limit_messages_per_minute": 10**9}
    limits = RateLimits(buckets, MemoryBuckets(time.monotonic), enabled=True, figures=figures)
    caller = Caller("user", "alice")
    began = time.perf_counter()
    for _ in range(ROUNDS):
        limits.check(caller, "message")
    print(f"check of a caller: {(time.perf_counter() - began) / ROUNDS * 1e6:.2f} µs")


if __name__ == "__main__":
    main()

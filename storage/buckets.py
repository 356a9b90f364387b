"""Token buckets in this process's memory. Knows no user and no rate."""

from storage.interfaces import Clock


class MemoryBuckets:
    """Token buckets, at most `most`. A full one is forgotten: it is as good as a new one. Beyond `most` the
    one goes that was not asked for the longest."""

    #: A bucket is some 300 bytes.
    MOST = 200_000

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock, self._most = clock, most
        #: key -> (tokens, as of, capacity, per second), the longest silent first.
        self._buckets: dict[str, tuple[float, float, float, float]] = {}

    def take(self, key: str, capacity: float, per_second: float) -> float:
        now = self._clock()
        tokens = self._tokens(key, capacity, per_second, now)
        wait = 0.0
        if tokens >= 1.0:
            tokens -= 1.0
        else:
            wait = (1.0 - tokens) / per_second
        self._buckets[key] = (tokens, now, capacity, per_second)
        return wait

    def wait(self, key: str, capacity: float, per_second: float) -> float:
        """What `take` would answer, without taking."""
        tokens = self._tokens(key, capacity, per_second, now := self._clock())
        self._buckets[key] = (tokens, now, capacity, per_second)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / per_second

    def _tokens(self, key: str, capacity: float, per_second: float, now: float) -> float:
        """What the bucket holds; it is taken out, to be put back as the one asked for last."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            self._forget(now)
            return capacity
        return min(capacity, bucket[0] + max(0.0, now - bucket[1]) * per_second)

    def _forget(self, now: float) -> None:
        """Two for one that comes: there are never many more than are in use."""
        for _ in range(2):
            if not self._buckets:
                return
            oldest = next(iter(self._buckets))
            tokens, since, capacity, per_second = self._buckets[oldest]
            if tokens + (now - since) * per_second < capacity and len(self._buckets) < self._most:
                return
            del self._buckets[oldest]

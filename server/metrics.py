"""Prometheus behind the domain's `Observer`. Counts in plain integers; families are made when scraped.

A labelled `inc()` of the client library costs a microsecond, more than a delivery may; a dictionary of
integers costs a tenth of that, and nothing is scraped a thousand times a second. Knows no route.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from events.observer import Observer

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WRITES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
MAX_LABELS = 200
"""Different label sets of one metric. Some labels are a client's words (a custom event's name): past this
many they count as "other", so that nobody can fill a Prometheus from outside."""

Reading = float | Mapping[str, float]


def _bounded(labels: tuple[str, ...], known: int) -> tuple[str, ...]:
    """Label values fit for a line of text: short, without lone surrogates, not too many."""
    if known >= MAX_LABELS:
        return ("other",) * len(labels)
    return tuple(label[:100].encode("utf-8", "replace").decode() for label in labels)


class _Counts:
    """One counter: label values to a number."""

    __slots__ = ("labels", "name", "text", "values")

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *labels: str, by: float = 1) -> None:
        self.more(labels, by)

    def more(self, labels: tuple[str, ...], by: float) -> None:
        values = self.values
        try:
            values[labels] += by
        except KeyError:
            labels = _bounded(labels, len(values))
            values[labels] = values.get(labels, 0) + by

    def family(self) -> Metric:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in list(self.values.items()):
            family.add_metric(labels, value)
        return family


@dataclass(slots=True)
class _Buckets:
    counts: list[int]
    sum: float = 0.0


class _Distribution:
    """One histogram: label values to how many observations fell under each bound."""

    __slots__ = ("bounds", "labels", "name", "text", "values")

    def __init__(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> None:
        self.name = name
        self.text = text
        self.bounds = bounds
        self.labels = labels
        self.values: dict[tuple[str, ...], _Buckets] = {}
        if not labels:
            self.values[()] = _Buckets([0] * (len(bounds) + 1))

    def observe(self, value: float, *labels: str) -> None:
        buckets = self.values.get(labels)
        if buckets is None:
            labels = _bounded(labels, len(self.values))
            buckets = self.values.setdefault(labels, _Buckets([0] * (len(self.bounds) + 1)))
        buckets.counts[bisect_left(self.bounds, value)] += 1
        buckets.sum += value

    def family(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        bounds = [str(bound) for bound in self.bounds] + ["+Inf"]
        for labels, buckets in list(self.values.items()):
            total, cumulative = 0, []
            for bound, count in zip(bounds, buckets.counts, strict=True):
                total += count
                cumulative.append((bound, float(total)))
            family.add_metric(labels, cumulative, buckets.sum)
        return family


@dataclass(slots=True)
class _Gauge:
    name: str
    text: str
    read: Callable[[], Reading]
    label: str | None


@dataclass(slots=True)
class _Now:
    """Present values, as opposed to counts."""

    bus: str = ""
    lag: float = 0.0


class Metrics(Observer, Collector):
    """One app's metrics, in a registry of its own. Names begin `parley_`; times are in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._now = _Now()
        self._gauges: list[_Gauge] = []
        self._counted: list[_Counts | _Distribution] = []
        self.commands = self._counts(
            "parley_commands",
            "Commands and writes answered, by outcome (ok or an error code)",
            "command",
            "outcome",
        )
        self.command_seconds = self._distribution(
            "parley_command_seconds", "From a command's arrival to its reply", SECONDS, "command"
        )
        self.connects = self._counts("parley_connects", "Connections opened", "transport")
        self.disconnects = self._counts(
            "parley_disconnects", "Connections ended or refused", "transport", "reason"
        )
        self.commits = self._distribution("parley_commit_seconds", "Group commits, begin to end", SECONDS)
        self.batches = self._distribution("parley_commit_writes", "Writes in one group commit", WRITES)
        self.deliveries = self._counts("parley_deliveries", "Events handed to members of rooms", "event")
        self.delivery_seconds = self._distribution(
            "parley_delivery_seconds", "From an event's making to its handing to a room's members", SECONDS
        )
        self.recoveries = self._counts("parley_recoveries", "Reconnects that asked for recovery", "outcome")
        self.cuts = self._counts("parley_cuts", "Connections cut off for reading too slowly", "reason")
        self.drops = self._counts("parley_drops", "Events not given to slow readers", "kind")
        self.streams = self._counts("parley_streams", "Streams begun, and how they ended", "outcome")
        self.bus_changes = self._counts("parley_bus_changes", "Changes of the bus's state", "state")
        self.heals = self._counts("parley_healed", "Events delivered from the database, gaps filled", "what")
        self.rewinds = self._counts(
            "parley_rewinds", "Times this node found that a store had gone back", "store"
        )
        self.webhooks = self._counts("parley_webhook_requests", "Requests to webhooks, by outcome", "outcome")
        self.hook_seconds = self._distribution(
            "parley_hook_seconds",
            "Messages at the hook before publishing, by what it said",
            SECONDS,
            "outcome",
        )
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _counts(self, name: str, text: str, *labels: str) -> _Counts:
        """A counter that every scrape shows."""
        counted = _Counts(name, text, *labels)
        self._counted.append(counted)
        return counted

    def _distribution(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> _Distribution:
        """A histogram that every scrape shows."""
        counted = _Distribution(name, text, bounds, *labels)
        self._counted.append(counted)
        return counted

    # --- Observer

    def command(self, name: str, outcome: str, seconds: float) -> None:
        self.commands.more((name, outcome), 1)
        if seconds > 0:
            self.command_seconds.observe(seconds, name)

    def connected(self, transport: str) -> None:
        self.connects.more((transport,), 1)

    def disconnected(self, transport: str, reason: str) -> None:
        self.disconnects.add(transport, reason)

    def committed(self, batch: int, seconds: float) -> None:
        self.commits.observe(seconds)
        self.batches.observe(batch)

    def delivered(self, name: str, members: int, seconds: float) -> None:
        self.deliveries.more((name,), members)
        if seconds > 0:
            self.delivery_seconds.observe(seconds)

    def recovered(self, outcome: str) -> None:
        self.recoveries.add(outcome)

    def cut(self, reason: str) -> None:
        self.cuts.add(reason)

    def dropped(self, kind: str) -> None:
        self.drops.add(kind)

    def stream(self, outcome: str) -> None:
        self.streams.add(outcome)

    def bus(self, state: str, lag: float = 0.0) -> None:
        if state != self._now.bus:
            self.bus_changes.add(state)
            self._now.bus = state
        self._now.lag = lag

    def went_back(self, store: str) -> None:
        self.rewinds.add(store)

    def healed(self, what: str, count: int = 1) -> None:
        self.heals.add(what, by=count)

    def webhook(self, outcome: str) -> None:
        self.webhooks.add(outcome)

    def hook(self, outcome: str, seconds: float) -> None:
        self.hook_seconds.observe(seconds, outcome)

    # --- for the composition root and the route

    def watch(self, name: str, text: str, read: Callable[[], Reading], *, label: str | None = None) -> None:
        """Adds the gauge `parley_<name>`, read at every scrape: a number, or with `label` one per value.

        `read` must be quick; if it raises, the gauge is left out of that scrape.
        """
        self._gauges.append(_Gauge(f"parley_{name}", text, read, label))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Everything as text, and its content type, by the scraper's Accept header."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        for name, count in self.at_once.items():
            self.commands.more((name, "ok"), count)
        self.deliveries.more(("stream_chunk",), self.chunks)
        self.at_once.clear()
        self.chunks = 0
        for counted in self._counted:
            yield counted.family()
        yield GaugeMetricFamily(
            "parley_bus_live", "1 while events travel between nodes", value=float(self._now.bus == "live")
        )
        yield GaugeMetricFamily(
            "parley_bus_lag_seconds", "The canary's way through the bus", value=self._now.lag
        )
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.text, labels=[gauge.label] if gauge.label else [])
            for labels, value in _readings(gauge):
                family.add_metric(labels, value)
            yield family

    def describe(self) -> Iterable[Metric]:
        return ()


def _readings(gauge: _Gauge) -> list[tuple[list[str], float]]:
    try:
        reading = gauge.read()
    except Exception:  # noqa: BLE001  a gauge of something that is away must not take /metrics with it
        return []
    if isinstance(reading, Mapping):
        return [([str(label)], float(value)) for label, value in reading.items()]
    return [([], float(reading))]

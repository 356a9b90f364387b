"""Metrics: what is told is what is shown, in Prometheus' conventions, bounded whatever clients send."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from events.observer import Observer
from server.metrics import MAX_LABELS, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_everything_the_domain_tells() -> None:
    metrics = Metrics()
    metrics.command("message", "ok", 0.003)
    metrics.command("message", "RATE_LIMIT", 0.3)
    metrics.connected("socketio")
    metrics.connected("socketio")
    metrics.connected("websocket")
    metrics.disconnected("socketio", "transport close")
    metrics.committed(200, 0.006)
    metrics.committed(1, 0.002)
    metrics.delivered("message", 1000, 0.02)
    metrics.delivered("typing", 5, 0)
    metrics.recovered("recovered")
    metrics.cut("outbox")
    metrics.dropped("volatile")
    metrics.stream("started")
    metrics.stream("complete")
    metrics.bus("live", 0.004)
    metrics.bus("live", 0.005)
    metrics.healed("gap", 3)
    shown = samples(metrics)
    for name, labels, value in (
        ("parley_commands_total", ("message", "ok"), 1),
        ("parley_commands_total", ("message", "RATE_LIMIT"), 1),
        ("parley_command_seconds_count", ("message",), 2),
        ("parley_command_seconds_bucket", ("message", "0.0025"), 0),
        ("parley_command_seconds_bucket", ("message", "0.005"), 1),
        ("parley_command_seconds_bucket", ("message", "+Inf"), 2),
        ("parley_connects_total", ("socketio",), 2),
        ("parley_disconnects_total", ("transport close", "socketio"), 1),
        ("parley_commit_seconds_count", (), 2),
        ("parley_commit_writes_sum", (), 201),
        ("parley_commit_writes_bucket", ("1.0",), 1),
        ("parley_deliveries_total", ("message",), 1000),
        ("parley_deliveries_total", ("typing",), 5),
        ("parley_delivery_seconds_count", (), 1),
        ("parley_recoveries_total", ("recovered",), 1),
        ("parley_cuts_total", ("outbox",), 1),
        ("parley_drops_total", ("volatile",), 1),
        ("parley_streams_total", ("complete",), 1),
        ("parley_bus_live", (), 1),
        ("parley_bus_lag_seconds", (), 0.005),
        ("parley_bus_changes_total", ("live",), 1),
        ("parley_healed_total", ("gap",), 3),
    ):
        assert shown[name, labels] == value, (name, labels)
    assert abs(shown["parley_command_seconds_sum", ("message",)] - 0.303) < 1e-9


def test_every_method_of_the_observer_counts_something() -> None:
    told = {name for name in vars(Observer) if not name.startswith("_")}
    assert told <= set(vars(Metrics))


def test_an_observation_on_a_bound_is_under_it() -> None:
    metrics = Metrics()
    metrics.command("join", "ok", 0.005)
    assert samples(metrics)["parley_command_seconds_bucket", ("join", "0.005")] == 1


def test_two_apps_in_one_process() -> None:
    first, second = Metrics(), Metrics()
    first.connected("websocket")
    assert ("parley_connects_total", ("websocket",)) not in samples(second)


def test_names_from_outside_are_bounded_and_harmless() -> None:
    metrics = Metrics()
    metrics.delivered('a "name"\n\ud800', 1, 0)
    metrics.delivered("x" * 5000, 1, 0)
    for n in range(2 * MAX_LABELS):
        metrics.delivered(f"custom-{n}", 1, 0)
        metrics.command(f"command-{n}", "ok", 0.1)
    shown = samples(metrics)
    counted = {
        labels[0]: value for (name, labels), value in shown.items() if name == "parley_deliveries_total"
    }
    assert len(counted) <= MAX_LABELS + 1
    assert sum(counted.values()) == 2 + 2 * MAX_LABELS
    assert counted["other"] == MAX_LABELS + 2
    assert max(map(len, counted)) == 100
    metrics.delivered("other", 1, 0)
    assert samples(metrics)["parley_deliveries_total", ("other",)] == MAX_LABELS + 3


def test_gauges_are_read_when_scraped() -> None:
    metrics = Metrics()
    rooms = [3]
    metrics.watch("rooms", "Rooms with members on this node", lambda: rooms[0])
    metrics.watch("pool", "Connections to the database", lambda: {"idle": 2, "used": 1}, label="state")

    def away() -> float:
        raise ConnectionError

    metrics.watch("away", "Something that is away", away)
    assert samples(metrics)["parley_rooms", ()] == 3
    rooms[0] = 4
    shown = samples(metrics)
    assert shown["parley_rooms", ()] == 4
    assert shown["parley_pool", ("used",)] == 1
    assert not [name for name, _ in shown if name == "parley_away"]


def test_conventions() -> None:
    metrics = Metrics()
    metrics.watch("rooms", "Rooms", lambda: 1)
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    for family in parse(body.decode()):
        if family.name.startswith("parley_"):
            assert family.documentation
            assert family.type in ("counter", "gauge", "histogram")
            if family.type == "counter":
                assert not family.name.endswith("_total"), "the parser takes it off"
            if family.type == "histogram" and family.name != "parley_commit_writes":
                assert family.name.endswith("_seconds")
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert list(parse_openmetrics(body.decode()))


def test_the_process_is_there_too() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"} <= names

"""What the engine leans on in python-socketio, python-engineio and uvicorn beyond their documentation.

A failure here means: read their changes, look at the module named beside each, then move the pin.
"""

import inspect
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import engineio
import pytest
import socketio
from engineio import packet as eio_packet
from socketio import async_admin
from socketio import packet as sio_packet
from uvicorn import server as uvicorn_server
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.engine import reasons
from tests.support.server import ROOT


@pytest.mark.parametrize(
    ("package", "pinned"),
    [("python-socketio", "5.18.1"), ("python-engineio", "4.15.1"), ("uvicorn", "0.54.0")],
)
def test_versions(package: str, pinned: str) -> None:
    assert version(package) == pinned


def test_the_products_path_does_without_python_socketio() -> None:
    """What of it is leaned on stands in server/engine/stock/ alone."""
    modules = "server.engine.server, server.engine.run, server.transports.socketio"
    there = "{name.partition('.')[0] for name in sys.modules} & {'engineio', 'socketio'}"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print({there})"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "set()"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # server/engine/http.py, answers.py, endings.py
        (HttpToolsProtocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
        (HttpToolsProtocol.connection_made, ["self", "transport"]),
        (HttpToolsProtocol.connection_lost, ["self", "exc"]),
        (HttpToolsProtocol.data_received, ["self", "data"]),
        (HttpToolsProtocol.handle_websocket_upgrade, ["self"]),
        (HttpToolsProtocol.on_message_begin, ["self"]),
        (HttpToolsProtocol._should_upgrade, ["self"]),
        (HttpToolsProtocol._get_upgrade, ["self"]),
        (HttpToolsProtocol._start_asgi_task, ["self", "cycle", "app"]),
        (HttpToolsProtocol.on_headers_complete, ["self"]),
        (HttpToolsProtocol.on_body, ["self", "body"]),
        (HttpToolsProtocol.on_message_complete, ["self"]),
        (HttpToolsProtocol.on_response_complete, ["self"]),
        (HttpToolsProtocol.send_400_response, ["self", "msg"]),
        (HttpToolsProtocol.timeout_keep_alive_handler, ["self"]),
        (HttpToolsProtocol.shutdown, ["self"]),
        # server/engine/stock/eio.py
        (engineio.AsyncServer.on, ["self", "event", "handler"]),
        (engineio.AsyncServer._get_socket, ["self", "sid"]),
        (engineio.AsyncServer.generate_id, ["self"]),
        (engineio.AsyncServer._generate_sid_cookie, ["self", "sid", "attributes"]),
        (engineio.AsyncServer.transport, ["self", "sid"]),
        (engineio.AsyncServer.get_session, ["self", "sid"]),
        (engineio.AsyncServer.save_session, ["self", "sid", "session"]),
        (engineio.AsyncServer.send_packet, ["self", "sid", "pkt"]),
        (engineio.AsyncServer.disconnect, ["self", "sid"]),
        # server/engine/stock/server.py
        (socketio.AsyncServer._engineio_server_class, ["self"]),
        (socketio.AsyncServer._send_packet, ["self", "eio_sid", "pkt"]),
        (socketio.AsyncServer._send_eio_packet, ["self", "eio_sid", "eio_pkt"]),
        (socketio.AsyncServer._handle_eio_connect, ["self", "eio_sid", "environ"]),
        (socketio.AsyncServer._handle_eio_message, ["self", "eio_sid", "data"]),
        (socketio.AsyncServer._handle_eio_disconnect, ["self", "eio_sid", "reason"]),
        (socketio.AsyncServer.on, ["self", "event", "handler", "namespace"]),
        (socketio.AsyncServer.register_namespace, ["self", "namespace_handler"]),
        (socketio.AsyncServer.disconnect, ["self", "sid", "namespace", "ignore_queue"]),
        (
            socketio.AsyncServer.emit,
            ["self", "event", "data", "to", "room", "skip_sid", "namespace", "callback", "ignore_queue"],
        ),
        # server/engine/stock/handlers.py
        (socketio.AsyncServer._trigger_event, ["self", "event", "namespace", "args"]),
        (socketio.AsyncServer._handle_event, ["self", "eio_sid", "namespace", "id", "data"]),
        (socketio.AsyncServer._get_event_handler, ["self", "event", "namespace", "args"]),
        # server/engine/stock/manager.py
        (
            socketio.AsyncManager.emit,
            ["self", "event", "data", "namespace", "room", "skip_sid", "callback", "to", "kwargs"],
        ),
        (socketio.AsyncManager.pre_connect, ["self", "eio_sid", "namespace"]),
        (socketio.AsyncManager.connect, ["self", "sid", "namespace"]),
        (socketio.AsyncManager.pre_disconnect, ["self", "sid", "namespace"]),
        (socketio.AsyncManager.disconnect, ["self", "sid", "namespace", "kwargs"]),
        (socketio.AsyncManager.enter_room, ["self", "sid", "namespace", "room", "eio_sid"]),
        (socketio.AsyncManager.leave_room, ["self", "sid", "namespace", "room"]),
        (socketio.AsyncManager.close_room, ["self", "room", "namespace"]),
        (socketio.AsyncManager.basic_enter_room, ["self", "sid", "namespace", "room", "eio_sid"]),
        (socketio.AsyncManager.basic_leave_room, ["self", "sid", "namespace", "room"]),
        (socketio.AsyncManager.basic_close_room, ["self", "room", "namespace"]),
        (socketio.AsyncManager.get_participants, ["self", "namespace", "room"]),
        (socketio.AsyncManager.get_rooms, ["self", "sid", "namespace"]),
        (socketio.AsyncManager.is_connected, ["self", "sid", "namespace"]),
        (socketio.AsyncManager.sid_from_eio_sid, ["self", "eio_sid", "namespace"]),
        (socketio.AsyncManager.eio_sid_from_sid, ["self", "sid", "namespace"]),
        (socketio.AsyncManager.trigger_callback, ["self", "sid", "id", "data"]),
        (socketio.AsyncManager.set_server, ["self", "server"]),
        (socketio.AsyncManager.initialize, ["self"]),
        # what the Admin UI replaces (socketio/async_admin.py)
        (async_admin.InstrumentedAsyncServer._trigger_event, ["self", "event", "namespace", "args"]),
        (async_admin.InstrumentedAsyncServer.serialize_socket, ["self", "sid", "namespace", "eio_sid"]),
        # server/engine/stock/encoding.py
        (
            sio_packet.Packet.__init__,
            ["self", "packet_type", "data", "namespace", "id", "binary", "encoded_packet"],
        ),
        (eio_packet.Packet.encode, ["self", "b64"]),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_signatures(function: Any, expected: list[str]) -> None:
    assert parameters(function) == expected


def test_uvicorns_unwritten_contract_with_a_websocket_class() -> None:
    """server/engine/protocol.py: how it is made and fed, and what a stopping server does with it."""
    upgrade = inspect.getsource(HttpToolsProtocol.handle_websocket_upgrade)
    for line in (
        "self.connections.discard(self)",
        "protocol = self.ws_protocol_class(",
        "config=self.config,",
        "server_state=self.server_state,",
        "app_state=self.app_state,",
        "protocol.connection_made(self.transport)",
        'protocol.data_received(b"".join(output))',
        "self.transport.set_protocol(protocol)",
    ):
        assert line in upgrade
    made = inspect.getsource(uvicorn_server.Server.startup)  # server/engine/opening.py
    for line in ("config.http_protocol_class(", "config=config", "server_state=self.server_state"):
        assert line in made
    stop = inspect.getsource(uvicorn_server.Server.shutdown)
    assert "connection.shutdown()" in stop
    waiting = inspect.getsource(uvicorn_server.Server._wait_tasks_to_complete)
    assert "self.server_state.connections" in waiting
    assert "self.server_state.tasks" in waiting
    state = uvicorn_server.ServerState()
    assert vars(state) == {"total_requests": 0, "connections": set(), "tasks": set(), "default_headers": []}


def test_what_our_http_class_replaces_is_still_all_there_is() -> None:
    """server/engine/http.py repeats `connection_made` but for the way it asks for addresses."""
    made = inspect.getsource(HttpToolsProtocol.connection_made)
    for line in (
        "self.connections.add(self)",
        "self.transport = transport",
        "self.flow = FlowControl(transport)",
        "self.server = get_local_addr(transport)",
        "self.client = get_remote_addr(transport)",
        'self.scheme = "https" if is_ssl(transport) else "http"',
    ):
        assert line in made
    assert made.count("self.") == 10  # nothing else is set up (the logger accounts for the rest)


def test_what_a_body_goes_by_that_leaves_past_the_layers() -> None:
    """server/engine/answers.py, `OpenBody`: it repeats how a cycle writes a piece, and asks what it asks."""
    cycle = RequestResponseCycle
    assert {"scope", "disconnected", "response_started", "response_complete", "chunked_encoding"} <= set(
        cycle.__init__.__code__.co_names
    )
    sends = inspect.getsource(cycle.send)
    for line in (
        "if self.disconnected:",
        "elif self.chunked_encoding:",
        r'[b"%x\r\n" % len(body), body, b"\r\n"]',
    ):
        assert line in sends
    assert "self.write_paused = True" in inspect.getsource(FlowControl.pause_writing)


def test_what_the_stock_servers_are_made_with() -> None:
    """server/engine/stock/: their settings, which our engine is given, and what is looked up in them."""
    sio = socketio.AsyncServer(async_mode="asgi", ping_interval=(7, 3))
    assert (sio.eio.ping_interval, sio.eio.ping_interval_grace_period) == (7, 3)
    settings = {
        "allow_upgrades": True, "cookie": None, "cors_allowed_origins": None, "cors_credentials": True,
        "max_http_buffer_size": 1_000_000, "ping_timeout": 20, "transports": ["polling", "websocket"],
    }  # fmt: skip
    assert {name: getattr(sio.eio, name) for name in settings} == settings
    assert sio.eio.handlers["connect"] == sio._handle_eio_connect
    assert sio.eio.handlers["disconnect"] == sio._handle_eio_disconnect
    assert (sio.namespaces, sio.handlers, sio.namespace_handlers, sio.environ) == (["/"], {}, {}, {})
    assert sio.packet_class is sio_packet.Packet
    assert sio.async_handlers is True
    assert sio.not_handled is not None
    assert sio.manager.server is sio
    assert socketio.exceptions.ConnectionRefusedError().error_args == {
        "message": "Connection rejected by server"
    }
    assert socketio.exceptions.ConnectionRefusedError("no", 1).error_args == {"message": "no", "data": 1}


def test_constants() -> None:
    assert socketio.AsyncServer.reserved_events == ["connect", "disconnect"]
    assert engineio.AsyncServer.event_names == ["connect", "disconnect", "message"]
    assert (sio_packet.CONNECT, sio_packet.DISCONNECT, sio_packet.EVENT, sio_packet.ACK) == (0, 1, 2, 3)
    assert (sio_packet.CONNECT_ERROR, sio_packet.BINARY_EVENT, sio_packet.BINARY_ACK) == (4, 5, 6)
    theirs = engineio.AsyncServer.reason
    for name in ("SERVER_DISCONNECT", "CLIENT_DISCONNECT", "PING_TIMEOUT", "TRANSPORT_CLOSE"):
        assert getattr(theirs, name) == getattr(reasons, name)
    assert theirs.TRANSPORT_ERROR == reasons.TRANSPORT_ERROR == "transport error"

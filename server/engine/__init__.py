"""The fast data path from uvicorn to the hub: WebSocket frames, Engine.IO sessions, Socket.IO packets.

Who calls whom, for what comes in; each is handed the next one, or its method, and knows no more of it::

    connection.WebSocketConnection   a transport's bytes
      -> parser.FrameParser          frames; control frames go back to the connection (`ControlHandler`)
      -> session.Session             Engine.IO packets (`connection.WebSocketHandler`)
      -> inbound.Inbound             Socket.IO packets (`Context.message`)
      -> door.Door                   events; CONNECT goes by way of `server.Server.connect`

For what goes out: `clients.Client.ack` and `emit` -> `Session.push` (an `events.outbox.Sink`), or a hub's
broadcast -> `events.outbox.Flusher.fan_out`; then, once a turn of the loop, `Flusher` -> the socket, or
`carrier.Carrier.write` -> the WebSocket, or the poll that waits.

`heartbeat.Wheel` calls `tick(now)` of thousands of sessions (`Ticking`) from one timer. What all sessions of
a server share is their `context.Context`. A request goes `opening.Opening` -> `http.HttpProtocol` -> the
application -> `endpoint.Endpoint`; for long polling on to `longpoll.LongPolling` -> the session, which hears
of a request that breaks off as its `answers.LongPollHandler`.

Taking a raw WebSocket over (`protocol.py`), from within an ASGI websocket application::

    protocol = scope["extensions"]["parley.protocol"]["protocol"]     # WebSocketProtocol
    protocol.take_over(handler, subprotocol="bearer", first=frames.text(b"{}"), max_size=65536)

Before that the ASGI interface works as anywhere (`websocket.http.response` too). `handler`
(`connection.WebSocketHandler`) gets `text(bytes)`, `binary(bytes)`, `pause_writing()`, `resume_writing()`,
`pong(bytes)`, `too_big(error)`, `holds(by)` and `lost(code)` (exactly once, but not after its own `close` or
`abort`); its `fd` is the protocol's to set. It writes whole frames with `protocol.write(frames.text(data))`,
and ends with `protocol.close(code, reason)` or `protocol.abort()`. `protocol.pause_reading()` and
`resume_reading()` hold up a peer that sends too fast.

Socket.IO (`server.py`): `Server(door=..., hub=..., codec=..., **settings)`, with the settings of
`engine.EngineSettings`. The namespace "/" belongs to the `Door` (`door.py`):

    def connect(conn, info, auth) -> Coroutine | None   # raise ConnectRefused(message, data) to refuse
    def event(conn, name, args, ack_id) -> None     # one call per EVENT packet, in order
    def refused(conn, name, ack_id, problem, size) -> None    # reserved name, binary, not strict JSON: reply
    def gone(conn, reason) -> None                  # exactly once after a connect that returned

`conn` (`clients.Client`) is an `events.room.Connection`: `conn.sink` is the Engine.IO session (an
`events.outbox.Sink`), `conn.caller` is None until the door sets it, `conn.codec` is the server's. Besides:
`conn.sid`, `conn.pid` (may be changed in `connect`), `conn.ack(ack_id, data)`, `conn.emit(name, data)`,
`conn.ask(name, data)` (a future of the client's ack), `conn.close(reason)` (the engine's close: clients
come back), `conn.disconnect()` (packet 41: clients stay away), `conn.engine_transport` ("polling" or
"websocket"), `conn.session.hold_up(stop)` (makes a client that says too much wait), `conn.last_ping` and
`conn.connected_at` (epoch seconds). `data` is one JSON value as bytes.
Whatever is sent to `conn` while `connect` runs leaves right after the CONNECT packet, in the same write.

python-socketio's own face is apart, in `stock/`: for the benchmark's bare server, the conformance suites and
the Admin UI.

`run.py` has what `serve` needs: uvicorn's configuration with our protocol classes, and the tuned collector.
"""

"""The transports. Routes, metrics, bounds and AsyncAPI go by this list."""

from server.transports import socketio, sse, websocket

TRANSPORTS = (
    socketio.TRANSPORT,
    websocket.TRANSPORT,
    sse.TRANSPORT,
)

"""python-socketio's face on the engine: handlers, rooms and emitting as its documentation has them.

For those who need it: the benchmark's bare server, the conformance suites, the Admin UI. The product's own
path never comes here.
"""

from server.engine.stock.server import Server as Server

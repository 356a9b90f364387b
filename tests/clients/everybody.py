"""All clients that people have, behind the same methods: the official one in its releases and runtimes, and
python-socketio's."""

from tests.support.jsclient import CLIENTS, JsClients, JsSocket
from tests.support.pyclient import PythonClients, PythonSocket
from tests.support.server import Server

PYTHON = "python-socketio"
EVERYBODY = (*CLIENTS, PYTHON)
#: They speak connection state recovery (socket.io-client 4.6 and newer).
RECOVER = tuple(name for name in CLIENTS if name.endswith("4.8"))

Socket = JsSocket | PythonSocket
Clients = JsClients | PythonClients


def clients(name: str, node: Server) -> Clients:
    """For `async with`. A browser's page comes from `node`, whose `PUBLIC_URL` has to be its address."""
    return PythonClients() if name == PYTHON else JsClients(name, page=f"{node.url}/healthz")

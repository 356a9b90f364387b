"""Connections between two requests: polling keeps the one that it has; a proxy's are its own to close."""

from server.engine.stock import Server
from server.engine.strangers import Strangers
from tests.engine.kit import Http, QuickApp, serving


def served(proxy: bool) -> QuickApp:
    app = QuickApp(Server())
    app.strangers = Strangers(100, lambda address: "" if proxy else address)
    return app


async def test_polling_answers_leave_the_connection_open() -> None:
    """A browser's, and a proxy's, which would lose its connection to the node with each poll."""
    for proxy in (False, True):
        async with serving(served(proxy)) as port, await Http.connect(port) as http:
            status, opened, body = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            sid = body.split(b'"sid":"')[1].split(b'"')[0].decode()
            target = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
            answers = [(status, opened, body), await http.request("POST", target, b"40")]
            answers.append(await http.request("GET", target))
            answers.append(await http.request("POST", target, b"41"))
            assert [answer[0] for answer in answers] == [200] * 4
            assert not [answer[1] for answer in answers if "connection" in answer[1]]


async def test_an_idle_one_is_closed_unless_it_is_a_proxys() -> None:
    app = QuickApp(Server())
    come_by = ""
    app.strangers = Strangers(100, lambda address: come_by)
    opening = "/socket.io/?EIO=4&transport=polling"
    async with serving(app, timeout_keep_alive=0.1) as port, await Http.connect(port) as proxys:
        assert (await proxys.request("GET", opening))[0] == 200
        come_by = "somewhere"
        async with await Http.connect(port) as anybodys:
            assert (await anybodys.request("GET", opening))[0] == 200
            await anybodys.ended()
        assert (await proxys.request("GET", opening))[0] == 200

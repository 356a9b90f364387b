"""Who woke up hears what waits at its sockets before it goes on, however busy its machine is."""

import asyncio
import socket
import time

from events.stall import Stall


class _Heard(asyncio.Protocol):
    """What a server hears of one connection that came, asked and went."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._heard.append(data.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard.append("gone")


def _no_processor(seconds: float) -> None:
    """Longer than a stall's end waits, and no turn of the loop: the fault itself."""
    time.sleep(seconds)


async def test_an_end_that_waits_is_heard_on_a_busy_machine() -> None:
    heard: list[str] = []
    server = await asyncio.get_running_loop().create_server(lambda: _Heard(heard), "127.0.0.1", 0)
    async with server:
        passing = Stall(time.time).passing()
        await asyncio.sleep(0)  # it has begun
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.sendall(b"asked")
        _no_processor(0.3)
        await passing
        assert heard == ["asked", "gone"]

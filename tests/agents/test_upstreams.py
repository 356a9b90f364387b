"""Which upstreams the settings allow, and that a connection goes to what was checked."""

import asyncio
import ipaddress
import socket
from typing import Any

import httpcore
import pytest

from events.agents.network import CheckedNetwork
from events.agents.upstreams import Refused, UpstreamHost, Upstreams, is_public, split


def origin(url: str) -> Any:
    return split(url)[0]


PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
INSIDE = [
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "fe80::1", "fe80::1%1",
    "fc00::1", "fd12::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::10.0.0.1",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2001:db8::1", "168.63.129.16", "100.100.100.200",
    "fd00:ec2::254", "192.0.0.192",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_out_in_the_internet(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
    assert Upstreams().admits("model.example", 443, ipaddress.ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_addresses_inside(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert not Upstreams().admits("model.example", 443, address)


def test_this_machine_is_open_to_a_node_that_serves_it_alone() -> None:
    here = Upstreams(loopback=True)
    for text in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert here.admits("localhost", 11434, ipaddress.ip_address(text))
    for text in ("10.0.0.1", "0.0.0.0", "169.254.169.254", "fd12::1"):
        assert not here.admits("localhost", 11434, ipaddress.ip_address(text))


def test_a_listed_name_may_lead_into_the_own_network_but_not_to_its_secrets() -> None:
    listed = Upstreams([UpstreamHost("ollama", 11434), UpstreamHost("169.254.7.7", 80)])
    for text in ("10.0.0.5", "127.0.0.1", "fd12::1", "100.64.0.1", "93.184.216.34"):
        assert listed.admits("ollama", 11434, ipaddress.ip_address(text))
    for text in ("169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16", "224.0.0.1", "0.0.0.0"):
        assert not listed.admits("ollama", 11434, ipaddress.ip_address(text))
    assert listed.admits("169.254.7.7", 80, ipaddress.ip_address("169.254.7.7"))
    assert not listed.admits("ollama", 80, ipaddress.ip_address("93.184.216.34")), "another port"
    assert not listed.admits("other", 11434, ipaddress.ip_address("93.184.216.34")), "not listed"


LISTED = Upstreams(
    [
        UpstreamHost("api.example", key="FIRST_API_KEY"),
        UpstreamHost("ollama", 11434),
        UpstreamHost("::1", 80),
    ],
    own=(origin("http://10.0.0.9:8000/v1"), "OPENAI_API_KEY"),
)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.example/v1", None),
        ("https://API.example.:443/v1", "FIRST_API_KEY"),
        ("http://ollama:11434/v1", None),
        ("http://[::1]/v1", None),
        ("http://10.0.0.9:8000/else", "OPENAI_API_KEY"),
    ],
)
def test_an_upstream_on_the_list(url: str, key: str | None) -> None:
    LISTED.check(origin(url), key)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://other.example/v1", None),
        ("https://api.example:8443/v1", None),
        ("http://api.example/v1", "FIRST_API_KEY"),
        ("https://api.example.evil.example/v1", None),
        ("https://api.example/v1", "SECOND_API_KEY"),
        ("https://api.example/v1", "OPENAI_API_KEY"),
        ("http://ollama:11434/v1", "FIRST_API_KEY"),
        ("http://10.0.0.9:8000/v1", "FIRST_API_KEY"),
        ("http://10.0.0.9:8001/v1", None),
    ],
)
def test_an_upstream_off_the_list(url: str, key: str | None) -> None:
    with pytest.raises(Refused):
        LISTED.check(origin(url), key)


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.0.1", "[fd12::1]", "[::ffff:10.0.0.1]", "169.254.169.254", "0.0.0.0", "167772161",
     "0x0a.1", "012.0.0.1", "localhost", "app.localhost", "[::1]"],
)  # fmt: skip
def test_an_address_inside_is_told_before_it_is_asked(host: str) -> None:
    with pytest.raises(Refused):
        Upstreams().check(origin(f"http://{host}/v1"), None)


def test_a_key_goes_nowhere_by_itself() -> None:
    with pytest.raises(Refused, match="UPSTREAM_HOSTS does not tie"):
        Upstreams(loopback=True).check(origin("https://api.example/v1"), "FIRST_API_KEY")


@pytest.mark.parametrize(
    "url",
    ["ftp://x/v1", "http:///v1", "http://user@x/v1", "http://x:0/v1", "http://x:99999/v1", "http://bücher/v1",
     "http://x/v1#f", "https://[fe80::1%25lo]/v1"],
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError):
        split(url)


def test_a_path_is_sent_as_it_is_meant() -> None:
    assert split("https://x/v1/", "/chat/completions")[1] == "/v1/chat/completions"
    assert split("https://x/a b?v=1", "/chat/completions")[1] == "/a%20b/chat/completions?v=1"


class Names:
    """A resolver whose answers are given, and asked for once each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked, self.answers = 0, list(answers)
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def look_up(host: Any, port: Any, **options: Any) -> Any:
            if host != "model.example":
                return await real(host, port, **options)
            self.asked += 1
            found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)


async def test_a_name_that_changes_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked and connected to are the same look-up's: what is answered later is not asked for."""
    here, seen = ipaddress.ip_address("127.0.0.1"), []

    def admits(host: str, port: int, address: Any) -> bool:
        seen.append(address)
        return bool(address == here)

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = Names(monkeypatch, ["127.0.0.2", "127.0.0.1"], ["127.0.0.2"])
    async with server:
        stream = await CheckedNetwork(admits).connect_tcp("model.example", port)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        await stream.aclose()
    assert (names.asked, seen) == (1, [ipaddress.ip_address("127.0.0.2"), here])


async def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, ["10.0.0.1", "169.254.169.254"])
    with pytest.raises(Refused):
        await CheckedNetwork(Upstreams().admits).connect_tcp("model.example", 80)


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    async with server:
        stream = await CheckedNetwork(Upstreams(loopback=True).admits).connect_tcp("model.example", port)
        await stream.aclose()


async def test_a_name_that_is_none() -> None:
    with pytest.raises(httpcore.ConnectError):
        await CheckedNetwork(Upstreams().admits).connect_tcp("no-such-host.invalid", 80)

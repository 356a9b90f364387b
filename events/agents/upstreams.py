"""Which model servers agents may ask, at which addresses, with which keys. Knows no HTTP and no agent."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from msgspec import Struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}

#: IPv6 addresses that carry an IPv4 address in their last 32 bits (RFC 6052; RFC 4291, section 2.5.5).
_CARRIERS = [ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::ffff:0:0/96", "::/96")]
#: Where every public IPv6 address lies (RFC 4291, section 2.4).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Where clouds give a machine its secrets, besides link-local: Azure, Alibaba, Oracle, AWS, Google.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)


class Refused(ValueError):
    """An upstream that the settings do not allow. The text is for the operator, not for users."""


class UpstreamOrigin(Struct, frozen=True):
    """A server to ask: a host in lower case, and a port that is always given."""

    scheme: str
    host: str
    port: int


class UpstreamHost(Struct, frozen=True):
    """One entry of UPSTREAM_HOSTS. Without a port: https at 443 alone. `key` is a variable's name."""

    host: str
    port: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}{f':{self.port}' if self.port else ''}{f'={self.key}' if self.key else ''}"

    def means(self, origin: UpstreamOrigin) -> bool:
        if self.host != origin.host:
            return False
        return self.port == origin.port if self.port else (origin.scheme, origin.port) == ("https", 443)


def split(base_url: str, target: str = "") -> tuple[UpstreamOrigin, str]:
    """(the origin, the path of `target` there with the URL's query). Raises ValueError."""
    parts = urlsplit(base_url)
    host, port = (parts.hostname or "").rstrip("."), parts.port
    if parts.scheme not in PORTS or not host or not host.isascii() or "%" in host:
        raise ValueError("is not an http:// or https:// URL with an ASCII host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("has a user, a password or a fragment")
    if port == 0:
        raise ValueError("has no port that can be asked")
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~") + target
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?')}" if parts.query else ""
    return UpstreamOrigin(parts.scheme, host, port or PORTS[parts.scheme]), path + query


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does: mapped, translated, compatible, 6to4."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.sixtofour is not None:
        return address.sixtofour
    if int(address) > 1 and any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether it is somebody's out in the internet: not this machine's, nor the own network's."""
    address = unwrapped(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and address not in _METADATA


class Upstreams:
    """`listed` is UPSTREAM_HOSTS, or another `setting`; `own` the operator's own upstream with the name of
    its key; `loopback`: this machine's addresses are open to all agents, as nobody else's node runs here."""

    def __init__(
        self,
        listed: Sequence[UpstreamHost] = (),
        *,
        own: tuple[UpstreamOrigin, str] | None = None,
        loopback: bool = False,
        setting: str = "UPSTREAM_HOSTS",
    ) -> None:
        self._listed, self._loopback, self._setting = tuple(listed), loopback, setting
        self._own: UpstreamOrigin | None = own[0] if own else None
        self._own_key = own[1] if own else ""

    def check(
        self,
        origin: UpstreamOrigin,
        key: str | None,
        named: tuple[str, str] = ("base_url", "api_key_env"),
    ) -> None:
        """Whether an agent may ask there, with the key of that variable. `named`: the fields of its config
        that say so. Raises Refused."""
        place, tie = named
        entries = [entry for entry in self._listed if entry.means(origin)]
        if self._listed and not entries and origin != self._own:
            raise Refused(f"{place}: its host and port are not among {self._setting}")
        literal = _literal(origin.host)
        if literal is not None and not self.admits(origin.host, origin.port, literal):
            raise Refused(f"{place}: an address inside the own network needs an entry in {self._setting}")
        if key is None or (origin == self._own and key == self._own_key):
            return
        if not any(entry.key == key for entry in entries):
            raise Refused(f"{tie}: {self._setting} does not tie {key} to this host and port")

    def admits(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection for `host` may go to `address`, which its name led to."""
        if self._own is not None and (host, port) == (self._own.host, self._own.port):
            return True
        address = unwrapped(address)
        if any(entry.host == host and (entry.port or PORTS["https"]) == port for entry in self._listed):
            # A name may lead into the own network, but not to a machine's secrets: only the address itself.
            told = _literal(host) == address or not (address.is_link_local or address in _METADATA)
            return told and not (address.is_multicast or address.is_unspecified)
        if self._listed:
            return False
        return is_public(address) or (self._loopback and address.is_loopback)


def _literal(host: str) -> Address | None:
    """The address that `host` is without any look-up, in each spelling that the resolver takes."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    if re.fullmatch(r"[0-9a-fx.]+", host):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    try:
        return unwrapped(ipaddress.ip_address(host))
    except ValueError:
        return None

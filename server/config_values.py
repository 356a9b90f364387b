"""Turns the text of one setting into its value: lists, origins, URLs. Knows no setting's name.

Each function raises ValueError with a text that never repeats the value, and leaves a default as it is.
"""

import ipaddress
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import idna

from events.agents.toolcommands import ToolCommand, parsed
from events.agents.upstreams import UpstreamHost, split
from events.filetypes import ENCODINGS
from storage.redis import endpoint
from storage.url import check, dialect_of


def upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def listed(value: Any) -> Any:
    """A JSON array of strings, or words separated by commas, as a tuple."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    try:
        words = json.loads(value)
    except ValueError:
        raise ValueError("begins like a JSON array, but is not one") from None
    if not all(isinstance(word, str) for word in words):
        raise ValueError("has an entry that is not a string")
    return tuple(words)


#: Schemes whose pages nobody vouches for: any file or message can hold one.
_NOBODYS = frozenset(("about", "blob", "data", "file", "filesystem", "ftp", "javascript", "null"))


def origin(value: str) -> str:
    """`scheme://host[:port]` in the form browsers send it: names in ASCII (UTS #46), ws:// as http://.

    An application's own scheme (`capacitor://localhost`, `chrome-extension://id`) stays as it is.
    """
    try:
        parts = urlsplit(value.strip())
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme.lower(), parts.scheme.lower())
        host, port = _ascii(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError("has an entry that is not an origin") from None
    if not scheme or "://" not in value or scheme in _NOBODYS:
        raise ValueError("has an entry without http://, https:// or an application's scheme")
    default = {"http": 80, "https": 443}.get(scheme)
    if default is not None and not host:
        raise ValueError("has an entry without a host")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, default) else f"{scheme}://{host}:{port}"


def _ascii(host: str) -> str:
    """As browsers spell a name: UTS #46, then Punycode. What IDNA 2008 would refuse, they take."""
    if host.isascii():
        return host
    labels = idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in labels
    )


def origins(value: Any) -> Any:
    """Origins and patterns of them. `*` alone would admit every page its visitor's network reaches."""
    entries = listed(value)
    if "*" in entries:
        raise ValueError("has '*', which would admit any page; name the origins")
    for entry in entries:
        parts = urlsplit(entry)
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError("has an entry that is more than an origin")
        if "*" in entry:
            _check_pattern(origin(entry))
    return tuple(origin(entry) for entry in entries)


def _check_pattern(entry: str) -> None:
    """A `*` stands for labels below a domain of somebody's: never for a part of that domain."""
    scheme, _, place = entry.partition("://")
    host = place.partition(":")[0]
    first, _, domain = host.partition(".")
    whose = domain == "localhost" or ("." in domain and not domain.rpartition(".")[2].isdigit())
    if scheme not in ("http", "https") or "*" not in first or "*" in place.partition(".")[2] or not whose:
        raise ValueError("has a '*' elsewhere than in the first part of a name such as *.example.com")


def networks(value: Any) -> Any:
    """Addresses and networks; one with host bits set means its network."""
    try:
        return tuple(ipaddress.ip_network(entry, strict=False) for entry in listed(value))
    except ValueError:
        raise ValueError("has an entry that is neither an address nor a network") from None


def upstream_hosts(value: Any) -> Any:
    """`host`, `host:port` or `[address]:port`, and after `=` the variable whose key may go there."""
    return tuple(entry if isinstance(entry, UpstreamHost) else _upstream(entry) for entry in listed(value))


def webhook_hosts(value: Any) -> Any:
    """The same without keys."""
    hosts = upstream_hosts(value)
    if any(host.key for host in hosts):
        raise ValueError("has an entry that is not a host and port")
    return hosts


def _upstream(entry: str) -> UpstreamHost:
    place, tied, key = (part.strip() for part in entry.partition("="))
    if tied and re.fullmatch(r"[A-Z0-9_]*API_KEY", key) is None:
        raise ValueError("ties a host to something other than a name that ends in API_KEY")
    try:
        parts = urlsplit(f"//{place}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise ValueError("has an entry that is not a host and port") from None
    if not re.fullmatch(r"[a-z0-9_.:-]+", host) or parts.netloc != place or parts.username is not None:
        raise ValueError("has an entry that is not a host and port")
    if port == 0 or place.endswith(":"):
        raise ValueError("has an entry with a port that cannot be asked")
    return UpstreamHost(host, port, key or None)


def tool_commands(value: Any) -> Any:
    """Command lines as a shell would split them; see `events.agents.toolcommands`."""
    return tuple(entry if isinstance(entry, ToolCommand) else parsed(entry) for entry in listed(value))


def http_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("is not an http:// or https:// URL")
    return value.rstrip("/")


def upstream_url(value: Any) -> Any:
    if isinstance(value, str):
        split(value)
    return http_url(value)


#: A token's issuer or audience that may be whatever it is, by the operator's own word.
ANY = "any"


def expected(value: Any) -> Any:
    """The expected value of a token's claim; `*` is `any`."""
    if not isinstance(value, str):
        return value
    return ANY if value == "*" or value.lower() == ANY else value


def token_type(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[A-Za-z0-9!#$&^_.+/-]+", value):
        raise ValueError("is not a media type")
    return media_type(value)


def media_type(typ: str) -> str:
    """A token's `typ` to compare: case does not count, nor does `application/` (RFC 7515, 4.1.9)."""
    typ = typ.lower()
    return typ if "/" in typ else f"application/{typ}"


def public_url(value: Any) -> Any:
    if isinstance(value, str) and (urlsplit(value).query or urlsplit(value).username):
        raise ValueError("has a query or a user")
    return http_url(value)


def root_path(value: Any) -> Any:
    """`/chat`, without a slash at its end; `/` means no path."""
    if not isinstance(value, str):
        return value
    path = value.strip("/")
    if path and not re.fullmatch(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", path):
        raise ValueError("is not a path of letters, digits and -._~")
    return f"/{path}" if path else ""


def database_url(value: Any) -> Any:
    """One spelling for each database: `postgresql://…` or `sqlite:///…`."""
    if not isinstance(value, str):
        return value
    try:
        dialect = dialect_of(value)
    except ValueError:
        raise ValueError("names no database that is supported") from None
    rest = value.partition("://")[2]
    if dialect == "sqlite" and (
        not rest.startswith("/") or not rest.strip("/") or rest.strip("/").startswith(":memory:")
    ):
        raise ValueError("names no file")
    return check(value)


def redis_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme == "unix" and parts.path:
        return value
    schemes = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
    if parts.scheme not in schemes or not parts.netloc:
        raise ValueError("is not the URL of a Redis")
    if parts.scheme.endswith("+sentinel") and not parts.path.strip("/"):
        raise ValueError("names no Sentinel service after the hosts")
    endpoint.check(value)
    return value


def pem(value: Any) -> Any:
    """A public key's PEM text; `\\n` in it stands for a line end, and a path is read."""
    if not isinstance(value, str):
        return value
    if "-----BEGIN" not in value:
        try:
            value = Path(value).read_text()
        except (OSError, UnicodeDecodeError, ValueError):
            raise ValueError("is neither PEM nor a file that can be read") from None
    value = value.replace("\\n", "\n")
    if "PRIVATE KEY" in value:
        raise ValueError("is a private key; nothing here needs one")
    return value


def media_types(value: Any) -> Any:
    entries = listed(value)
    for entry in entries:
        if not re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", entry):
            raise ValueError("has an entry that is not a media type")
    return entries


def encodings(value: Any) -> Any:
    entries = [entry.lower().replace("_", "-") for entry in listed(value)]
    if not all(entry in ENCODINGS or entry == "utf-8" for entry in entries):
        raise ValueError("has an entry that is not a known encoding")
    return [entry for entry in entries if entry != "utf-8"]  # which is always taken


def masked(value: Any, *, secret: bool) -> Any:
    """`value` for a screen: of a secret only that it is set, of an address all but the password."""
    if not secret or value is None:
        return value
    if "://" not in str(value):
        return "(set)"
    return re.sub(r"://[^/]*@", "://***@", str(value)).partition("?")[0]

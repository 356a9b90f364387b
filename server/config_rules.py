"""The rules between settings, and the wording of faults. Knows no default and reads no environment."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from events.webhooks.signatures import key_of
from server import config_values, keys

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from server.config import Settings


@dataclass(frozen=True, slots=True)
class Fault:
    """One setting's fault. `accepted` says what would be right; no text ever holds a given value."""

    name: str
    problem: str
    accepted: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}; accepted: {self.accepted}"


class SettingsError(ValueError):
    """The settings are invalid. `faults` has all faults; the message has a line for each."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(["invalid settings:", *(f"  {fault}" for fault in faults)]))


# What a setting accepts, where the kind of its fault does not say it.
ACCEPTED = {
    "PUBLIC_URL": "an http:// or https:// URL, such as https://chat.example.com",
    "ROOT_PATH": "the path below which a proxy offers the service, such as /chat",
    "LOG_LEVEL": "DEBUG, INFO, WARNING, ERROR or CRITICAL",
    "LOG_FORMAT": "json or console",
    "CORS_ORIGINS": (
        'origins as JSON or separated by commas, such as ["https://app.example.com", '
        '"https://*.preview.example.com", "capacitor://localhost"]'
    ),
    "TRUSTED_PROXIES": "addresses or networks as JSON or separated by commas, such as 10.0.0.2,10.0.1.0/28",
    "ADMIN_PASSWORD": "16 characters or more",
    "DATABASE_URL": "sqlite:///path/to/file.db or postgresql://user:password@host:5432/name?sslmode=…",
    "REDIS_URL": "redis://, rediss://, unix:// or redis+sentinel://host:26379,host:26379/name",
    "REDIS_PREFIX": "1 to 64 letters, digits, '_', '.', ':' or '-'",
    "NODE_URL": "an http:// URL at which the other nodes reach this one",
    "JWT_ALGORITHM": "HS256, RS256 or ES256",
    "JWT_PUBLIC_KEY": "a public key in PEM (line ends may be written \\n), or the path of such a file",
    "JWT_JWKS_URL": "an https:// URL, or an http:// one of this machine",
    "JWT_AUDIENCE": "the `aud` of tokens for this service, or `any` to take those for other ones, too",
    "JWT_ISSUER": "the `iss` of the tokens' issuer, or `any`",
    "JWT_TYP": "the `typ` of the tokens' header, such as at+jwt",
    "FILE_STORAGE_TYPE": "local or s3",
    "ALLOWED_FILE_TYPES": 'media types as JSON or separated by commas, such as ["image/png"]',
    "TEXT_ENCODINGS": "of cp949, euc-kr, utf-16, as JSON or separated by commas",
    "OPENAI_BASE_URL": "an http:// or https:// URL",
    "UPSTREAM_HOSTS": "hosts as JSON or separated by commas, each with its port and key where it has them, "
    "such as api.mistral.ai=MISTRAL_API_KEY,ollama:11434",
    "WEBHOOK_HOSTS": "hosts as JSON or separated by commas, each with its port where it is not https at 443, "
    "such as hooks.example.com,10.0.7.4:8080",
    "PUBLISH_HOOK_URL": "an http:// or https:// URL",
    "PUBLISH_HOOK_CALL": "a function of a module that can be imported, such as moderation:check",
    "PUBLISH_HOOK_FAILURE": "open or closed",
    "TOOL_COMMANDS": "command lines as JSON or separated by commas, such as uvx mcp-server-time",
    "S3_ENDPOINT_URL": "an http:// or https:// URL",
}
_MAKE_KEY = (
    "32 random bytes or more, such as the output of "
    "`python -c 'import secrets; print(secrets.token_urlsafe(48))'`"
)


_KINDS = {
    "bool_parsing": ("is neither true nor false", "true or false"),
    "int_parsing": ("is not a whole number", "a whole number"),
    "float_parsing": ("is not a number", "a number"),
    "finite_number": ("is not a finite number", "a number"),
    "literal_error": ("is not one of the choices", "one of the choices"),
    "string_too_short": ("is too short", "a longer text"),
    "string_too_long": ("is too long", "a shorter text"),
    "string_pattern_mismatch": ("has characters that do not belong there", "other characters"),
}


def field_fault(name: str, error: "ErrorDetails") -> Fault:
    """The fault of one value, from pydantic's account of it (of which the input is left out)."""
    problem, accepted = _KINDS.get(error["type"], (error["msg"].removeprefix("Value error, "), ""))
    if error["type"].startswith(("greater_than", "less_than")):
        problem, accepted = "is out of range", "a number " + error["msg"].removeprefix("Input should be ")
    return Fault(name, problem, ACCEPTED.get(name, accepted))


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


#: Settings that bound what holds a message on its way: a larger message could neither wait for a slow reader,
#: nor be replayed to a client that comes back.
HOLDS_A_MESSAGE = ("outbox_limit", "recovery_log_bytes")
#: Of a message, at least.
FEWEST_BYTES = 1024


def check(settings: "Settings") -> Iterator[Fault]:
    """Every fault that shows only in two settings together."""
    if settings.debug and not is_loopback(settings.host):
        yield Fault(
            "DEBUG",
            "is on while HOST is open to the network",
            "DEBUG=false, or HOST=127.0.0.1 for development",
        )
    yield from _check_root(settings)
    yield from _check_keys(settings)
    yield from _check_tls(settings)
    if settings.redis_pool_size > settings.redis_max_connections:
        yield Fault("REDIS_POOL_SIZE", "is above REDIS_MAX_CONNECTIONS", "at most REDIS_MAX_CONNECTIONS")
    if settings.stream_checkpoint >= settings.stream_lease:
        yield Fault("STREAM_CHECKPOINT", "is not below STREAM_LEASE", "seconds, fewer than STREAM_LEASE")
    for bound in (*HOLDS_A_MESSAGE, "ws_frame_size_limit"):
        if settings.ws_message_size_limit > getattr(settings, bound):
            name = bound.upper()
            yield Fault("WS_MESSAGE_SIZE_LIMIT", f"is above {name}", f"bytes, at most {name}")
    if settings.openai_model and not settings.openai_base_url:
        yield Fault("OPENAI_BASE_URL", "is not set, but OPENAI_MODEL is", ACCEPTED["OPENAI_BASE_URL"])
    if settings.publish_hook_url and not _is_secret(settings.publish_hook_secret):
        yield Fault("PUBLISH_HOOK_SECRET", "is not set, or no secret of Standard Webhooks", _WHSEC)
    if settings.file_storage_type == "s3" and not settings.s3_bucket_name:
        yield Fault("S3_BUCKET_NAME", "is not set, but FILE_STORAGE_TYPE is s3", "the bucket's name")
    if bool(settings.aws_access_key_id) != bool(settings.aws_secret_access_key):
        missing = "AWS_SECRET_ACCESS_KEY" if settings.aws_access_key_id else "AWS_ACCESS_KEY_ID"
        yield Fault(missing, "is not set, but its other half is", "both of the pair, or neither")


_WHSEC = "whsec_ and 24 to 64 bytes in base64, the same as at PUBLISH_HOOK_URL"


def _is_secret(text: str | None) -> bool:
    try:
        key_of(text or "")
    except ValueError:
        return False
    return True


#: The beginnings of Parley's own paths. A ROOT_PATH may not begin so: nobody could see whether a proxy kept
#: it.
OWN_PATHS = (
    "/api/chat", "/api/dev", "/api/server", "/socket.io", "/ws", "/files", "/web", "/vendor",
    "/docs", "/openapi.json", "/asyncapi.json", "/healthz", "/readyz", "/metrics",
)  # fmt: skip


def is_own_path(path: str) -> bool:
    return any(path == own or path.startswith(own + "/") for own in OWN_PATHS)


def root_path(settings: "Settings") -> str:
    """ROOT_PATH, or that of PUBLIC_URL."""
    return settings.root_path or _path_of(settings.public_url)


def _path_of(url: str | None) -> str:
    return urlsplit(url or "").path.rstrip("/")


def _check_root(settings: "Settings") -> Iterator[Fault]:
    if is_own_path(settings.root_path):
        yield Fault("ROOT_PATH", "begins as paths of Parley's own do", ACCEPTED["ROOT_PATH"])
    path = _path_of(settings.public_url)
    if settings.root_path and path not in ("", settings.root_path):
        yield Fault("ROOT_PATH", "is not the path of PUBLIC_URL", "the same path in both, or in one alone")
    try:
        config_values.root_path(path)
    except ValueError as error:
        yield Fault("PUBLIC_URL", f"has a path that {error}", ACCEPTED["PUBLIC_URL"])
    else:
        if is_own_path(path):
            yield Fault(
                "PUBLIC_URL", "has a path that begins as paths of Parley's own do", ACCEPTED["PUBLIC_URL"]
            )


def notices(settings: "Settings") -> Iterator[str]:
    """Warnings about valid settings: check-config prints them, and the log has them at every start."""
    s3 = urlsplit(settings.s3_endpoint_url or "")
    if s3.scheme == "http" and settings.file_storage_type == "s3" and not is_loopback(s3.hostname or ""):
        yield "S3_ENDPOINT_URL: files travel unencrypted, and who sees a request can repeat it"
    options = parse_qs(urlsplit(settings.redis_url or "").query)
    for name in ("ssl_cert_reqs", "ssl_check_hostname"):
        if options.get(name, ["true"])[-1].lower() in ("0", "false", "no", "none"):
            yield f"REDIS_URL: {name} lets anybody in between answer for Redis"


def _check_keys(settings: "Settings") -> Iterator[Fault]:
    if settings.jwt_algorithm == "HS256":
        if settings.jwt_secret_key is None:
            if not settings.debug:
                yield Fault("JWT_SECRET_KEY", "is not set", _MAKE_KEY)
        elif weak := keys.weakness(settings.jwt_secret_key, example_allowed=settings.debug):
            yield Fault("JWT_SECRET_KEY", weak, _MAKE_KEY)
        for name in ("jwt_public_key", "jwt_jwks_url"):
            if getattr(settings, name) is not None:
                yield Fault(
                    name.upper(), "is set, but JWT_ALGORITHM is HS256", "JWT_ALGORITHM=RS256 or ES256"
                )
    elif (settings.jwt_public_key is None) == (settings.jwt_jwks_url is None):
        problem = (
            "is not set, nor is JWT_JWKS_URL"
            if settings.jwt_public_key is None
            else "is set together with JWT_JWKS_URL"
        )
        yield Fault("JWT_PUBLIC_KEY", problem, f"one of the two for {settings.jwt_algorithm}")
    elif settings.jwt_public_key is not None and not _fits(settings.jwt_public_key, settings.jwt_algorithm):
        yield Fault(
            "JWT_PUBLIC_KEY",
            f"is not a public key for {settings.jwt_algorithm}",
            "RSA of 2048 bits or more for RS256, P-256 for ES256, in PEM",
        )
    yield from _check_issuer(settings)
    if settings.secret_key is not None:
        if weak := keys.weakness(settings.secret_key, example_allowed=settings.debug):
            yield Fault("SECRET_KEY", weak, _MAKE_KEY)
    elif settings.jwt_algorithm != "HS256" and not settings.debug:
        if settings.jwt_secret_key is None:
            yield Fault("SECRET_KEY", "is not set, nor is a JWT_SECRET_KEY to derive it from", _MAKE_KEY)
        elif weak := keys.weakness(settings.jwt_secret_key):
            yield Fault("JWT_SECRET_KEY", weak, _MAKE_KEY)


def _check_issuer(settings: "Settings") -> Iterator[Fault]:
    """Where keys come from an issuer's address: it signs for many applications, of which we are one."""
    if settings.jwt_jwks_url is None or settings.jwt_algorithm == "HS256":
        return
    parts = urlsplit(settings.jwt_jwks_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        yield Fault(
            "JWT_JWKS_URL",
            "is plain http to another machine, where anybody in between may put in keys",
            "an https:// URL, or one of this machine",
        )
    for name in ("jwt_audience", "jwt_issuer"):
        if getattr(settings, name) is None:
            yield Fault(name.upper(), "is not set, but JWT_JWKS_URL is", ACCEPTED[name.upper()])


def _fits(text: str, algorithm: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    if algorithm == "RS256":
        return isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _check_tls(settings: "Settings") -> Iterator[Fault]:
    for name in ("ssl_certfile", "ssl_keyfile"):
        path: Path | None = getattr(settings, name)
        if path is None:
            if settings.ws_use_ssl:
                yield Fault(name.upper(), "is not set, but WS_USE_SSL is on", "the path of a PEM file")
        elif settings.ws_use_ssl and not path.is_file():
            yield Fault(name.upper(), "names no file", "the path of a PEM file that this user can read")


def derived_sizes(settings: "Settings") -> dict[str, int]:
    """Where they were not given: a message's default, as far as what has to hold one is not less; and what a
    connection ends for, no less."""
    given = settings.model_fields_set
    message, frame = settings.ws_message_size_limit, settings.ws_frame_size_limit
    if "ws_message_size_limit" not in given:
        held = [getattr(settings, bound) for bound in HOLDS_A_MESSAGE]
        message = min(message, *(size for size in held if size >= FEWEST_BYTES))
    if "ws_frame_size_limit" not in given:
        frame = max(frame, message)
    return {"ws_message_size_limit": message, "ws_frame_size_limit": frame}


def derived_keys(settings: "Settings", data_dir: Path) -> dict[str, str]:
    """The keys that were not given: the development key, and SECRET_KEY from JWT_SECRET_KEY."""
    made: dict[str, str] = {}
    key = settings.jwt_secret_key
    if key is None and (settings.jwt_algorithm == "HS256" or settings.secret_key is None):
        key = keys.development_key(data_dir)
        if settings.jwt_algorithm == "HS256":
            made["jwt_secret_key"] = key
    if settings.secret_key is None and key is not None:
        made["secret_key"] = keys.derive(key, "parley secret key")
    return made

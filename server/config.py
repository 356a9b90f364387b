"""The settings of one process (contract, section 10): read once, checked all together, then frozen.

Knows names, types and defaults. The rules between settings are in `config_rules.py`, the spellings of
values in `config_values.py`, keys in `keys.py`.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.agents.toolcommands import ToolCommand
from events.agents.upstreams import UpstreamHost
from server import config_rules as rules
from server import config_values as values
from server.config_names import unknown
from server.config_rules import Fault, SettingsError
from storage.url import pooled

__all__ = ["Fault", "Settings", "SettingsError"]

Whole = Annotated[int, Field(ge=1)]
#: Hours of a session that has no end: as many as a time of the database and of every client can hold.
FOREVER = 876_000.0
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Secret = Annotated[str | None, Field(repr=False)]
Network = IPv4Network | IPv6Network


class Settings(BaseModel):
    """All settings under their lower-case names. Durations are seconds, sizes bytes, unless named otherwise.

    Build one with `Settings.load`; the constructor alone applies no rule that spans two settings.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    # service
    service_name: Annotated[str, Field(min_length=1, max_length=100)] = "parley"
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    service_port: Annotated[int, Field(ge=0, le=65535)] = 8003
    public_url: Annotated[str | None, BeforeValidator(values.public_url)] = None
    root_path: Annotated[str, BeforeValidator(values.root_path)] = ""
    debug: bool = False
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(values.upper)
    ] = "INFO"
    log_format: Literal["json", "console"] = "json"
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(values.origins)] = ()
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(values.networks)] = ()
    shutdown_grace: NotNegative = 30.0
    metrics_token: Secret = None
    admin_password: Annotated[str | None, Field(repr=False, min_length=16)] = None

    # database
    database_url: Annotated[str, Field(repr=False), BeforeValidator(values.database_url)] = (
        "sqlite:///data/parley.db"
    )
    database_pool_size: Whole = 20
    database_max_overflow: Annotated[int, Field(ge=0)] = 40
    database_pool_mode: Literal["session", "transaction"] = "session"

    # cluster
    redis_url: Annotated[str | None, Field(repr=False), BeforeValidator(values.redis_url)] = None
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] = "chat"
    # Part of the contract and checked, but of no effect: docs/adr/0003.
    redis_pool_size: Whole = 10
    redis_max_connections: Whole = 50
    redis_timeout: Seconds = 1.0
    node_url: Annotated[str | None, BeforeValidator(values.http_url)] = None

    # secrets
    jwt_secret_key: Secret = None
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = "HS256"
    jwt_public_key: Annotated[str | None, BeforeValidator(values.pem)] = None
    jwt_jwks_url: Annotated[str | None, BeforeValidator(values.http_url)] = None
    jwt_audience: Annotated[str | None, BeforeValidator(values.expected)] = None
    jwt_issuer: Annotated[str | None, BeforeValidator(values.expected)] = None
    jwt_typ: Annotated[str | None, BeforeValidator(values.token_type)] = None
    secret_key: Secret = None

    # connections
    ws_max_connections: Whole = 10_000
    ws_heartbeat_interval: Seconds = 25.0
    ws_ping_timeout: Seconds = 20.0
    ws_connection_timeout: Seconds = 300.0
    ws_message_size_limit: Annotated[int, Field(ge=1024)] = 262_144
    ws_frame_size_limit: Annotated[int, Field(ge=1024)] = 1_048_576
    ws_use_ssl: bool = False
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ws_create_sessions: bool = False
    auth_timeout: Seconds = 15.0
    auth_expiry_notice: NotNegative = 60.0
    outbox_limit: Annotated[int, Field(ge=65_536)] = 1_048_576
    max_rooms_per_connection: Whole = 200

    # sessions
    session_ttl_hours: Annotated[float, Field(ge=0, le=FOREVER)] = 24.0
    session_cleanup_interval: Seconds = 300.0
    session_retention_days: NotNegative = 0.0
    participants_added_by: Literal["owner", "service"] = "owner"

    # recovery
    recovery_window: Seconds = 120.0
    recovery_log_size: Whole = 10_000
    recovery_log_bytes: Whole = 1_048_576

    # presence
    presence_grace: NotNegative = 5.0
    presence_events_max: Annotated[int, Field(ge=0)] = 100
    node_lease: Seconds = 15.0
    typing_ttl: Seconds = 6.0

    # streams
    stream_chunk_size: Whole = 10
    stream_delay_ms: NotNegative = 50.0
    stream_checkpoint: Seconds = 1.0
    stream_lease: Seconds = 60.0
    stream_max_size: Whole = 262_144
    max_streams_per_user: Whole = 20
    openai_base_url: Annotated[str | None, BeforeValidator(values.upstream_url)] = None
    openai_model: str | None = None
    openai_api_key: Secret = None
    upstream_hosts: Annotated[tuple[UpstreamHost, ...], BeforeValidator(values.upstream_hosts)] = ()
    tool_commands: Annotated[tuple[ToolCommand, ...], BeforeValidator(values.tool_commands)] = ()

    # files
    file_storage_type: Literal["local", "s3"] = "local"
    file_storage_path: Path = Path("data/files")
    max_file_size: Whole = 10_485_760
    allowed_file_types: Annotated[tuple[str, ...], BeforeValidator(values.media_types)] = (
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/gif",
        "image/heic",
        "application/pdf",
        "text/plain",
    )
    text_encodings: Annotated[tuple[str, ...], BeforeValidator(values.encodings)] = ()
    file_url_ttl: Seconds = 300.0
    s3_bucket_name: str | None = None
    s3_endpoint_url: Annotated[str | None, BeforeValidator(values.http_url)] = None
    aws_access_key_id: Secret = None
    aws_secret_access_key: Secret = None

    # webhooks
    webhook_hosts: Annotated[tuple[UpstreamHost, ...], BeforeValidator(values.webhook_hosts)] = ()
    webhook_timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    webhook_retry_max: Seconds = 300.0
    webhook_disable_days: Annotated[float, Field(gt=0, le=30)] = 5.0
    publish_hook_url: Annotated[str | None, BeforeValidator(values.upstream_url)] = None
    publish_hook_secret: Secret = None
    publish_hook_call: Annotated[str | None, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = None
    publish_hook_timeout: Annotated[float, Field(gt=0, le=10)] = 2.0
    publish_hook_failure: Literal["open", "closed"] = "closed"

    # limits; 0 is none
    rate_limit_enabled: bool = True
    rate_limit_messages_per_minute: Whole = 60
    max_participants_per_session: Annotated[int, Field(ge=0)] = 1000
    max_sessions_per_user: Annotated[int, Field(ge=0)] = 10_000
    max_stored_bytes_per_user: Annotated[int, Field(ge=0)] = 5_368_709_120
    max_event_streams_per_user: Annotated[int, Field(ge=0)] = 100
    max_readers_per_stream: Annotated[int, Field(ge=0)] = 1000
    max_requests_per_user: Annotated[int, Field(ge=0)] = 100

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        env_file: Path | None = Path(".env"),
        *,
        data_dir: Path = Path("data"),
    ) -> Self:
        """Settings from `environ` (default: the process's) over those of `env_file`, if that is there.

        An empty value counts as not set; a name that is no setting is ignored (`unknown` lists those that
        look like one). `data_dir` is where the development key is kept. Raises `SettingsError` with all
        faults together.
        """
        given = cls.given(environ, env_file)
        raw = {name: value for name in cls.model_fields if (value := (given.get(name.upper()) or "").strip())}
        names = {name: name.upper() for name in cls.model_fields}
        if port := (given.get("PORT") or "").strip():
            raw["service_port"], names["service_port"] = port, "PORT"

        faults: list[Fault] = []
        try:
            checked = cls.model_validate(raw)
        except ValidationError as error:
            wrong = {str(each["loc"][0]): each for each in error.errors(include_url=False)}
            faults = [rules.field_fault(names[name], each) for name, each in wrong.items()]
            # The rest is still checked, so that one start tells everything.
            checked = cls.model_validate({k: v for k, v in raw.items() if k not in wrong})
        checked = checked.model_copy(update=rules.derived_sizes(checked))
        known = {fault.name for fault in faults}
        faults += [fault for fault in rules.check(checked) if fault.name not in known]
        if faults:
            raise SettingsError(faults)
        made = rules.derived_keys(checked, data_dir)
        made["root_path"] = rules.root_path(checked)
        if checked.database_pool_mode == "transaction":
            made["database_url"] = pooled(checked.database_url)
        return checked.model_copy(update=made)

    @staticmethod
    def given(
        environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
    ) -> dict[str, str | None]:
        """All names of the environment and the file, settings or not."""
        found = dict(dotenv_values(env_file)) if env_file is not None and env_file.is_file() else {}
        found.update(os.environ if environ is None else environ)
        return found

    @classmethod
    def unknown(cls) -> list[str]:
        """A line for each name of the environment and of .env that is nearly a setting's."""
        return list(unknown(cls.given(), ("PORT", *(name.upper() for name in cls.model_fields))))

    @property
    def base(self) -> str | None:
        """The URL below which clients find everything, without a slash at its end; None if unknown."""
        if self.public_url is None:
            return None
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}{self.root_path}"

    @property
    def session_hours(self) -> float:
        """SESSION_TTL_HOURS, of which 0 is a hundred years."""
        return self.session_ttl_hours or FOREVER

    def described(self) -> dict[str, Any]:
        """Every setting by its upper-case name, secrets and passwords in URLs masked: fit for a screen."""
        return {
            name.upper(): values.masked(getattr(self, name), secret=field.repr is False)
            for name, field in type(self).model_fields.items()
        }

"""Settings: every name, default, spelling and rule of the contract's section 10."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from server import keys
from server.config import Settings, SettingsError
from tests.server.test_tokens import EC, RSA

KEY = "Zb7uX1vQ9tLr4mKp8wYc2nHd6sGf3jEa"
OTHER = "q0Wm5Rk2Vx8Ty1Ub6Ni3Oc9Pz4La7SdE"

DEFAULTS = {
    "service_name": "parley",
    "host": "127.0.0.1",
    "service_port": 8003,
    "public_url": None,
    "root_path": "",
    "debug": False,
    "log_level": "INFO",
    "log_format": "json",
    "cors_origins": (),
    "trusted_proxies": (),
    "shutdown_grace": 30,
    "metrics_token": None,
    "admin_password": None,
    "database_url": "sqlite:///data/parley.db",
    "database_pool_size": 20,
    "database_max_overflow": 40,
    "database_pool_mode": "session",
    "redis_url": None,
    "redis_prefix": "chat",
    "redis_pool_size": 10,
    "redis_max_connections": 50,
    "redis_timeout": 1,
    "node_url": None,
    "jwt_secret_key": KEY,
    "jwt_algorithm": "HS256",
    "jwt_public_key": None,
    "jwt_jwks_url": None,
    "jwt_audience": None,
    "jwt_issuer": None,
    "jwt_typ": None,
    "secret_key": keys.derive(KEY, "parley secret key"),
    "ws_max_connections": 10000,
    "ws_heartbeat_interval": 25,
    "ws_ping_timeout": 20,
    "ws_connection_timeout": 300,
    "ws_message_size_limit": 262144,
    "ws_frame_size_limit": 1048576,
    "ws_use_ssl": False,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ws_create_sessions": False,
    "auth_timeout": 15,
    "auth_expiry_notice": 60,
    "outbox_limit": 1048576,
    "max_rooms_per_connection": 200,
    "session_ttl_hours": 24,
    "session_cleanup_interval": 300,
    "session_retention_days": 0,
    "participants_added_by": "owner",
    "recovery_window": 120,
    "recovery_log_size": 10000,
    "recovery_log_bytes": 1048576,
    "presence_grace": 5,
    "presence_events_max": 100,
    "node_lease": 15,
    "typing_ttl": 6,
    "stream_chunk_size": 10,
    "stream_delay_ms": 50,
    "stream_checkpoint": 1,
    "stream_lease": 60,
    "stream_max_size": 262144,
    "max_streams_per_user": 20,
    "openai_base_url": None,
    "openai_model": None,
    "openai_api_key": None,
    "upstream_hosts": (),
    "tool_commands": (),
    "webhook_hosts": (),
    "webhook_timeout": 10.0,
    "webhook_retry_max": 300.0,
    "webhook_disable_days": 5.0,
    "publish_hook_url": None,
    "publish_hook_secret": None,
    "publish_hook_call": None,
    "publish_hook_timeout": 2.0,
    "publish_hook_failure": "closed",
    "file_storage_type": "local",
    "file_storage_path": Path("data/files"),
    "max_file_size": 10485760,
    "allowed_file_types": (
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/gif",
        "image/heic",
        "application/pdf",
        "text/plain",
    ),
    "text_encodings": (),
    "file_url_ttl": 300,
    "s3_bucket_name": None,
    "s3_endpoint_url": None,
    "aws_access_key_id": None,
    "aws_secret_access_key": None,
    "max_participants_per_session": 1000,
    "max_sessions_per_user": 10_000,
    "max_stored_bytes_per_user": 5 * 2**30,
    "max_event_streams_per_user": 100,
    "max_readers_per_stream": 1000,
    "max_requests_per_user": 100,
    "rate_limit_enabled": True,
    "rate_limit_messages_per_minute": 60,
}


def load(tmp_path: Path, **environ: str) -> Settings:
    return Settings.load({"JWT_SECRET_KEY": KEY, **environ}, None, data_dir=tmp_path)


def faults(tmp_path: Path, **environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **environ)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + len(caught.value.faults), "one line each"
    return {fault.name: fault.problem for fault in caught.value.faults}


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_every_name_and_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert {name: getattr(settings, name) for name in Settings.model_fields} == DEFAULTS


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).debug = True  # type: ignore[misc]


def test_port_wins_over_service_port(tmp_path: Path) -> None:
    assert load(tmp_path, SERVICE_PORT="9001").service_port == 9001
    assert load(tmp_path, SERVICE_PORT="9001", PORT="9002").service_port == 9002
    assert "PORT" in faults(tmp_path, SERVICE_PORT="9001", PORT="http")


def test_empty_is_not_set_and_unknown_is_ignored(tmp_path: Path) -> None:
    settings = load(tmp_path, REDIS_URL="", WS_PING_TIMEOUT="  ", NO_SUCH_SETTING="1", debug="true")
    assert settings.redis_url is None
    assert settings.ws_ping_timeout == 20
    assert not settings.debug


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f'JWT_SECRET_KEY="{KEY}"\nSERVICE_NAME=from-file\nREDIS_PREFIX=from-file\n# a comment\n')
    settings = Settings.load({"SERVICE_NAME": "from-environment"}, file)
    assert (settings.service_name, settings.redis_prefix) == ("from-environment", "from-file")
    assert settings.jwt_secret_key == KEY


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", KEY)
    monkeypatch.setenv("SERVICE_NAME", "by-process")
    assert Settings.load(env_file=tmp_path / "none").service_name == "by-process"


def test_all_faults_at_once(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        WS_PING_TIMEOUT="0",
        LOG_LEVEL="loud",
        WS_USE_SSL="yes",
        REDIS_POOL_SIZE="100",
        DATABASE_URL="mysql://root@db/chat",
        SERVICE_PORT="99999",
        RATE_LIMIT_ENABLED="perhaps",
    )
    assert set(told) == {
        "WS_PING_TIMEOUT",
        "LOG_LEVEL",
        "SSL_CERTFILE",
        "SSL_KEYFILE",
        "REDIS_POOL_SIZE",
        "DATABASE_URL",
        "SERVICE_PORT",
        "RATE_LIMIT_ENABLED",
    }


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    secrets = {
        "JWT_SECRET_KEY": "short-hunter1",
        "SECRET_KEY": "short-hunter2",
        "ADMIN_PASSWORD": "hunter3",
        "DATABASE_URL": "mysql://root:hunter4@db/chat",
        "REDIS_URL": "http://:hunter5@redis",
        "JWT_PUBLIC_KEY": "/no/such/hunter6",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.load(secrets, None)
    assert "hunter" not in str(caught.value) + repr(caught.value)

    settings = load(
        tmp_path,
        SECRET_KEY=OTHER,
        DATABASE_URL="postgres://u:hunter@db/chat?password=hunter",
        REDIS_URL="redis://:hunter@redis/0",
        METRICS_TOKEN="hunter-metrics",
        ADMIN_PASSWORD="hunter-0123456789",
        OPENAI_API_KEY="hunter-openai",
        AWS_ACCESS_KEY_ID="hunter-aws",
        AWS_SECRET_ACCESS_KEY="hunter-aws",
    )
    for text in (repr(settings), str(settings), str(settings.described())):
        assert "hunter" not in text
        assert KEY not in text
        assert OTHER not in text
    assert settings.described()["DATABASE_URL"] == "postgresql://***@db/chat"


def test_debug_stays_on_this_machine(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "chat.example.com"):
        assert faults(tmp_path, DEBUG="true", HOST=host) == {
            "DEBUG": "is on while HOST is open to the network"
        }
        assert load(tmp_path, HOST=host).host == host
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert load(tmp_path, DEBUG="true", HOST=host).debug


# Keys.


def test_without_debug_a_key_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="JWT_SECRET_KEY: is not set"):
        Settings.load({}, None, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "weak",
    [
        "only-thirty-one-bytes-long-0123",
        "x" * 64,
        "your-256-bit-secret-your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
        "please-change-this-in-production-please",
        "0123456789abcdef0123456789abcdef",
        "your-super-secret-key-which-is-long-enough",
    ],
)
def test_a_weak_key_refuses(tmp_path: Path, weak: str) -> None:
    assert "JWT_SECRET_KEY" in faults(tmp_path, JWT_SECRET_KEY=weak)
    assert "SECRET_KEY" in faults(tmp_path, SECRET_KEY=weak)


def test_a_short_key_refuses_with_debug_too(tmp_path: Path) -> None:
    assert "JWT_SECRET_KEY" in faults(tmp_path, JWT_SECRET_KEY="k" * 31, DEBUG="true")
    assert load(tmp_path, JWT_SECRET_KEY="k" * 32, DEBUG="true").jwt_secret_key == "k" * 32


def test_random_keys_are_never_weak() -> None:
    import secrets

    for _ in range(200):
        for key in (secrets.token_hex(16), secrets.token_urlsafe(32), secrets.token_urlsafe(64)):
            assert keys.weakness(key) is None


def test_the_development_key_is_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Settings.load({"DEBUG": "1"}, None, data_dir=folder)
    again = Settings.load({"DEBUG": "1"}, None, data_dir=folder)
    assert first.jwt_secret_key == again.jwt_secret_key
    assert first.secret_key == again.secret_key
    assert len(first.jwt_secret_key or "") >= 32
    assert [path.name for path in folder.iterdir()] == ["dev-secret"]
    assert stat.S_IMODE((folder / "dev-secret").stat().st_mode) == 0o600
    # With a key of its own, the development key is not touched.
    assert Settings.load({"DEBUG": "1", "JWT_SECRET_KEY": KEY}, None, data_dir=folder).jwt_secret_key == KEY


def test_two_that_start_together_take_one_development_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: keys.development_key(tmp_path / "data"), range(16)))
    assert len(made) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["dev-secret"]


def test_a_development_key_that_others_could_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "dev-secret"
    path.write_text(KEY)
    path.chmod(0o644)
    assert keys.development_key(tmp_path) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_umask_does_not_open_the_development_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.development_key(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "dev-secret").stat().st_mode) == 0o600


def test_secret_key_is_derived_and_separate(tmp_path: Path) -> None:
    derived = load(tmp_path).secret_key
    assert derived is not None and len(derived) == 64
    assert KEY not in derived
    assert load(tmp_path, JWT_SECRET_KEY=OTHER).secret_key != derived
    assert load(tmp_path, SECRET_KEY=OTHER).secret_key == OTHER
    assert keys.derive(KEY, "one purpose") != keys.derive(KEY, "another purpose")


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC)])
def test_public_keys(
    tmp_path: Path, algorithm: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    pem = public_pem(key)
    file = tmp_path / "key.pem"
    file.write_text(pem)
    for given in (pem, pem.replace("\n", "\\n"), str(file)):
        settings = load(tmp_path, JWT_ALGORITHM=algorithm, JWT_PUBLIC_KEY=given)
        assert settings.jwt_public_key is not None
        assert settings.jwt_public_key.strip() == pem.strip()


def test_a_key_must_fit_its_algorithm(tmp_path: Path) -> None:
    small = rsa.generate_private_key(65537, 1024)
    other_curve = ec.generate_private_key(ec.SECP384R1())
    for algorithm, key in (("RS256", EC), ("ES256", RSA), ("RS256", small), ("ES256", other_curve)):
        told = faults(tmp_path, JWT_ALGORITHM=algorithm, JWT_PUBLIC_KEY=public_pem(key))  # type: ignore[arg-type]
        assert told == {"JWT_PUBLIC_KEY": f"is not a public key for {algorithm}"}
    private = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert "private" in faults(tmp_path, JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=private)["JWT_PUBLIC_KEY"]
    assert "JWT_PUBLIC_KEY" in faults(tmp_path, JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY="-----BEGIN x")


def test_one_source_of_public_keys(tmp_path: Path) -> None:
    pem, url = public_pem(RSA), "https://id.example.com/jwks.json"
    issued = {"JWT_AUDIENCE": "parley", "JWT_ISSUER": "https://id.example.com"}
    assert load(tmp_path, JWT_ALGORITHM="RS256", JWT_JWKS_URL=url, **issued).jwt_jwks_url == url
    assert "JWT_PUBLIC_KEY" in faults(tmp_path, JWT_ALGORITHM="RS256")
    assert "JWT_PUBLIC_KEY" in faults(tmp_path, JWT_ALGORITHM="RS256", JWT_PUBLIC_KEY=pem, JWT_JWKS_URL=url)
    assert "JWT_JWKS_URL" in faults(tmp_path, JWT_JWKS_URL=url)
    assert "JWT_PUBLIC_KEY" in faults(tmp_path, JWT_PUBLIC_KEY=pem)
    assert "JWT_ALGORITHM" in faults(tmp_path, JWT_ALGORITHM="none")
    assert "JWT_ALGORITHM" in faults(tmp_path, JWT_ALGORITHM="HS512")


def test_an_issuers_address_wants_to_know_whom_tokens_are_for(tmp_path: Path) -> None:
    def told(**given: str) -> set[str]:
        return set(faults(tmp_path, JWT_ALGORITHM="RS256", **given))

    url = "https://id.example.com/jwks.json"
    assert told(JWT_JWKS_URL=url) == {"JWT_AUDIENCE", "JWT_ISSUER"}
    assert told(JWT_JWKS_URL=url, JWT_AUDIENCE="parley") == {"JWT_ISSUER"}
    assert told(JWT_JWKS_URL=url, JWT_ISSUER="any") == {"JWT_AUDIENCE"}
    # Whatever audience and issuer, if that is said.
    for everybody in ("any", "*", "Any"):
        settings = load(
            tmp_path, JWT_ALGORITHM="RS256", JWT_JWKS_URL=url, JWT_AUDIENCE=everybody, JWT_ISSUER=everybody
        )
        assert (settings.jwt_audience, settings.jwt_issuer) == ("any", "any")
    # A key set that comes in the open is anybody's on the way; on this machine there is no way.
    issued = {"JWT_AUDIENCE": "parley", "JWT_ISSUER": "https://id.example.com"}
    for open_to_all in (
        "http://id.example.com/jwks.json",
        "http://10.0.0.5/jwks",
        "http://localhost.example.com/",
    ):
        assert told(JWT_JWKS_URL=open_to_all, **issued) == {"JWT_JWKS_URL"}
    for here in ("http://127.0.0.1:9/jwks", "http://localhost:9/jwks", "http://[::1]:9/jwks"):
        assert load(tmp_path, JWT_ALGORITHM="RS256", JWT_JWKS_URL=here, **issued).jwt_jwks_url == here


def test_the_type_of_tokens_is_a_media_type(tmp_path: Path) -> None:
    for given in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert load(tmp_path, JWT_TYP=given).jwt_typ == "application/at+jwt"
    assert "JWT_TYP" in faults(tmp_path, JWT_TYP="at jwt")


def test_with_a_public_key_secret_key_must_come_from_somewhere(tmp_path: Path) -> None:
    public = {"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": public_pem(RSA)}
    with pytest.raises(SettingsError, match="SECRET_KEY: is not set"):
        Settings.load(public, None, data_dir=tmp_path)
    assert Settings.load({**public, "SECRET_KEY": OTHER}, None).secret_key == OTHER
    assert Settings.load({**public, "JWT_SECRET_KEY": KEY}, None).secret_key == DEFAULTS["secret_key"]
    with_debug = Settings.load({**public, "DEBUG": "1"}, None, data_dir=tmp_path)
    assert with_debug.secret_key
    assert with_debug.jwt_secret_key is None


# Values.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:///data/x.db", "sqlite:///data/x.db"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite+aiosqlite:///x.db", "sqlite:///x.db"),
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u:p%40@h:5433/d?sslmode=require", "postgresql://u:p%40@h:5433/d?sslmode=require"),
        ("postgresql+asyncpg://u@h/d", "postgresql://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_database_spellings(tmp_path: Path, given: str, kept: str) -> None:
    assert load(tmp_path, DATABASE_URL=given).database_url == kept


@pytest.mark.parametrize(
    "given",
    [
        "mysql://h/d",
        "postgresql",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "postgresql://h",
        "postgresql://h:x/d",
    ],
)
def test_databases_that_are_none(tmp_path: Path, given: str) -> None:
    assert "DATABASE_URL" in faults(tmp_path, DATABASE_URL=given)


def test_lists_as_json_or_commas(tmp_path: Path) -> None:
    wanted = ("https://a.example", "http://b.example:8080")
    for given in (
        '["https://a.example", "http://b.example:8080"]',
        "https://a.example, http://b.example:8080,",
    ):
        assert load(tmp_path, CORS_ORIGINS=given).cors_origins == wanted
    assert load(tmp_path, CORS_ORIGINS="[]").cors_origins == ()
    assert load(tmp_path, ALLOWED_FILE_TYPES="image/webp,text/csv").allowed_file_types == (
        "image/webp",
        "text/csv",
    )
    assert "CORS_ORIGINS" in faults(tmp_path, CORS_ORIGINS='["https://a.example"')
    assert "CORS_ORIGINS" in faults(tmp_path, CORS_ORIGINS="[1]")
    assert "ALLOWED_FILE_TYPES" in faults(tmp_path, ALLOWED_FILE_TYPES="png")
    assert load(tmp_path, TEXT_ENCODINGS="UTF-8,EUC_KR, utf-16").text_encodings == ("euc-kr", "utf-16")
    assert "TEXT_ENCODINGS" in faults(tmp_path, TEXT_ENCODINGS="latin-1")


def test_a_path_below_a_proxy(tmp_path: Path) -> None:
    for given in ("/chat", "chat", "/chat/"):
        assert load(tmp_path, ROOT_PATH=given).root_path == "/chat"
    assert load(tmp_path, ROOT_PATH="/").root_path == ""
    both = load(tmp_path, ROOT_PATH="/chat", PUBLIC_URL="https://example.com")
    assert (both.base, both.root_path) == ("https://example.com/chat", "/chat")
    one = load(tmp_path, PUBLIC_URL="https://example.com/a/b/")
    assert (one.base, one.root_path) == ("https://example.com/a/b", "/a/b")
    for wrong in ("/files", "/ws/x", "/api/chat", "/a?b", "/a b", "/a//b"):
        assert "ROOT_PATH" in faults(tmp_path, ROOT_PATH=wrong), wrong
    assert "ROOT_PATH" in faults(tmp_path, ROOT_PATH="/chat", PUBLIC_URL="https://example.com/other")
    assert "PUBLIC_URL" in faults(tmp_path, PUBLIC_URL="https://example.com/files")


def test_origins_take_one_form(tmp_path: Path) -> None:
    given = "WSS://Chat.Example.com:443/,ws://b.example:81,http://[::1]:9"
    assert load(tmp_path, CORS_ORIGINS=given).cors_origins == (
        "https://chat.example.com",
        "http://b.example:81",
        "http://[::1]:9",
    )
    for wrong in (
        "*",
        "https://a.example/path",
        "a.example",
        "null",
        "https://",
        "ftp://a.example",
        "https://a:b",
        "https://*",
        "https://*.com",
        "https://*example.com",
        "https://a.*.example",
        "https://*.1.2.3.4",
        "https://*.example.com:*",
        "capacitor://*",
        "file://",
        "javascript://x",
    ):
        assert "CORS_ORIGINS" in faults(tmp_path, CORS_ORIGINS=wrong), wrong


def test_trusted_proxies(tmp_path: Path) -> None:
    found = load(tmp_path, TRUSTED_PROXIES="10.1.2.3, 10.0.0.1/8, ::1").trusted_proxies
    assert [str(network) for network in found] == ["10.1.2.3/32", "10.0.0.0/8", "::1/128"]
    assert "TRUSTED_PROXIES" in faults(tmp_path, TRUSTED_PROXIES="proxy.example")


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p@h:1/2", "unix:///run/r.sock", "redis+sentinel://a:1,b:2/main/0"]
)
def test_redis_addresses(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, REDIS_URL=url).redis_url == url


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("REDIS_URL", "h:6379"),
        ("REDIS_URL", "redis+sentinel://a:1"),
        ("REDIS_PREFIX", "a b"),
        ("NODE_URL", "10.0.0.1:8003"),
        ("PUBLIC_URL", "chat.example.com"),
        ("PUBLIC_URL", "https://chat.example.com/?a=b"),
        ("ADMIN_PASSWORD", "fifteen-letters"),
        ("WS_HEARTBEAT_INTERVAL", "0"),
        ("WS_HEARTBEAT_INTERVAL", "-1"),
        ("WS_PING_TIMEOUT", "inf"),
        ("WS_PING_TIMEOUT", "nan"),
        ("WS_MAX_CONNECTIONS", "0"),
        ("WS_MAX_CONNECTIONS", "1.5"),
        ("AUTH_TIMEOUT", "soon"),
        ("PRESENCE_GRACE", "-0.1"),
        ("SERVICE_PORT", "65536"),
        ("LOG_FORMAT", "xml"),
        ("FILE_STORAGE_TYPE", "ftp"),
        ("DEBUG", "2"),
    ],
)
def test_single_values_that_do_not_hold(tmp_path: Path, name: str, wrong: str) -> None:
    assert set(faults(tmp_path, **{name: wrong})) == {name}


def test_values_at_their_edge(tmp_path: Path) -> None:
    settings = load(tmp_path, PRESENCE_GRACE="0", WS_PING_TIMEOUT="0.2", ADMIN_PASSWORD="sixteen-letters!")
    assert (settings.presence_grace, settings.ws_ping_timeout) == (0, 0.2)
    assert load(tmp_path, LOG_LEVEL="debug").log_level == "DEBUG"
    assert load(tmp_path, PUBLIC_URL="https://chat.example.com/").public_url == "https://chat.example.com"


def test_settings_that_belong_together(tmp_path: Path) -> None:
    assert set(faults(tmp_path, WS_USE_SSL="true")) == {"SSL_CERTFILE", "SSL_KEYFILE"}
    here = tmp_path / "x.pem"
    here.touch()
    both = {"SSL_CERTFILE": str(here), "SSL_KEYFILE": str(here)}
    assert load(tmp_path, WS_USE_SSL="true", **both).ssl_keyfile == here
    assert set(faults(tmp_path, WS_USE_SSL="true", SSL_CERTFILE=str(here), SSL_KEYFILE="/no/key")) == {
        "SSL_KEYFILE"
    }
    assert set(faults(tmp_path, FILE_STORAGE_TYPE="s3")) == {"S3_BUCKET_NAME"}
    assert set(faults(tmp_path, AWS_ACCESS_KEY_ID="a")) == {"AWS_SECRET_ACCESS_KEY"}
    assert load(tmp_path, OPENAI_BASE_URL="http://h/v1").openai_model is None
    assert set(faults(tmp_path, OPENAI_MODEL="m")) == {"OPENAI_BASE_URL"}
    assert load(tmp_path, OPENAI_API_KEY="anything").openai_api_key == "anything"
    assert set(faults(tmp_path, STREAM_CHECKPOINT="60")) == {"STREAM_CHECKPOINT"}


def test_the_example_file_names_every_setting_and_holds(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / ".env.example").read_text()
    shown = re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^# ([A-Z][A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE))
    settings = Settings.load({"JWT_SECRET_KEY": KEY}, file, data_dir=tmp_path)
    examples = {
        "public_url",
        "cors_origins",
        "trusted_proxies",
        "database_url",
        "redis_url",
        "node_url",
    }
    for name, default in DEFAULTS.items():
        if name not in examples:
            assert getattr(settings, name) == default, name


def test_hosts_of_upstreams(tmp_path: Path) -> None:
    given = "api.example=FIRST_API_KEY, Ollama:11434,[fd12::1]:80=SECOND_API_KEY"
    settings = load(tmp_path, UPSTREAM_HOSTS=given)
    assert settings.described()["UPSTREAM_HOSTS"] == settings.upstream_hosts
    assert [str(entry) for entry in settings.upstream_hosts] == [
        "api.example=FIRST_API_KEY", "ollama:11434", "[fd12::1]:80=SECOND_API_KEY",
    ]  # fmt: skip
    assert load(tmp_path, UPSTREAM_HOSTS='["a:1"]').upstream_hosts[0].port == 1
    nothing = [
        "https://a",
        "a/b",
        "a:x",
        "a:0",
        "a:",
        "a:99999",
        "u@a",
        "*",
        "a=",
        "=X_API_KEY",
        "::1:80",
        "ä",
    ]
    for wrong in (*nothing, "a=JWT_SECRET_KEY"):
        assert set(faults(tmp_path, UPSTREAM_HOSTS=wrong)) == {"UPSTREAM_HOSTS"}, wrong
    for wrong in ("http://u:p@h/v1", "http://h:0/v1", "http://h/v1#f"):
        assert set(faults(tmp_path, OPENAI_BASE_URL=wrong, OPENAI_MODEL="m")) == {"OPENAI_BASE_URL"}, wrong


def test_programs_that_may_run(tmp_path: Path) -> None:
    given = "uvx mcp-server-time, FILES_API_KEY= /opt/files --root '/srv/our docs' *"
    settings = load(tmp_path, TOOL_COMMANDS=given)
    assert [str(entry) for entry in settings.tool_commands] == [
        "uvx mcp-server-time", "FILES_API_KEY= /opt/files --root '/srv/our docs' *",
    ]  # fmt: skip
    [listed] = load(tmp_path, TOOL_COMMANDS='["a --of 1,2"]').tool_commands
    assert listed.means(["a", "--of", "1,2"])
    assert not listed.means(["a", "--of"]) and not listed.means(["a", "--of", "1,2", "3"])
    more = settings.tool_commands[1]
    assert more.means(["/opt/files", "--root", "/srv/our docs", "x"]) and not more.means(["/opt/files", "x"])
    for wrong in ("'a", "JWT_SECRET_KEY= a", "X_API_KEY=", "*", "a * b"):
        assert set(faults(tmp_path, TOOL_COMMANDS=wrong)) == {"TOOL_COMMANDS"}, wrong

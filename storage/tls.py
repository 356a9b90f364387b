"""TLS to PostgreSQL: what an address's `sslmode` promises, as a context of Python's. libpq's rules.

"disable", "allow" and "prefer" promise nothing, and are left to the driver; from "require" on there is
TLS or no connection.
"""

import ssl
from pathlib import Path

from storage.address import Tls

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_PROMISING = ("require", "verify-ca", "verify-full")


def context(tls: Tls) -> ssl.SSLContext | None:
    """None where the mode promises nothing. Raises ValueError that names what cannot be kept."""
    if tls.mode not in _PROMISING:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = tls.mode == "verify-full"
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = _VERSIONS[tls.least]
    if tls.most is not None:
        made.maximum_version = _VERSIONS[tls.most]
    made.set_alpn_protocols(["postgresql"])
    _trust(made, tls)
    _revoke(made, tls)
    _introduce(made, tls)
    return made


def _trust(made: ssl.SSLContext, tls: Tls) -> None:
    if tls.rootcert == "system":
        made.set_default_verify_paths()
        return
    root = tls.rootcert or _own("root.crt")
    if root is not None:
        try:
            made.load_verify_locations(cafile=root)
        except (OSError, ssl.SSLError):
            raise ValueError("has sslrootcert that names no file with certificates") from None
    elif tls.mode == "require":
        # libpq's rule: without a root to compare with, any server is believed.
        made.verify_mode = ssl.CERT_NONE
    else:
        raise ValueError(
            f"has sslmode={tls.mode}, but no sslrootcert, and there is no ~/.postgresql/root.crt; "
            "sslrootcert=system takes the system's roots"
        )


def _revoke(made: ssl.SSLContext, tls: Tls) -> None:
    crl = tls.crl or _own("root.crl")
    if crl is None or made.verify_mode == ssl.CERT_NONE:
        return
    try:
        made.load_verify_locations(cafile=crl)
    except (OSError, ssl.SSLError):
        raise ValueError("has sslcrl that names no revocation list") from None
    made.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _introduce(made: ssl.SSLContext, tls: Tls) -> None:
    """The client's own certificate, for a server that asks for one."""
    cert = tls.cert or _own("postgresql.crt")
    if cert is None:
        return
    try:
        made.load_cert_chain(cert, tls.key or _own("postgresql.key"), password=lambda: tls.password)
    except (OSError, ssl.SSLError, ValueError):
        raise ValueError(
            "has sslcert, sslkey or sslpassword that are not a certificate and its key"
        ) from None


def _own(name: str) -> str | None:
    try:
        file = Path.home() / ".postgresql" / name
    except (RuntimeError, KeyError):
        return None
    return str(file) if file.is_file() else None

"""Certificates of the tests' own: one that has signed itself, and an authority that signs others."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOUR = timedelta(hours=1)
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates of servers and clients; `pem` is its own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Authority of the tests")
        self._certificate = _signed(self._name, self._key, self._name, self._key, "", -HOUR, HOUR, ca=True)
        self.pem = _pem(self._certificate)

    def sign(
        self, name: str, *, begins: timedelta = -HOUR, ends: timedelta = HOUR, serial: int = 2
    ) -> tuple[bytes, bytes]:
        """Certificate and key of a host (its address, or its name) in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _signed(_name(name), key, self._name, self._key, name, begins, ends, serial=serial)
        return _pem(made), _private(key)

    def revoke(self, *serials: int) -> bytes:
        """The list of what it has revoked."""
        now = datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        made = made.last_update(now - HOUR).next_update(now + HOUR)
        for serial in serials:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - HOUR)
            made = made.add_revoked_certificate(one.build())
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def self_signed() -> tuple[bytes, bytes]:
    """Certificate and key of 127.0.0.1 in PEM, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("127.0.0.1")
    return _pem(_signed(name, key, name, key, "127.0.0.1", -HOUR, HOUR, ca=True)), _private(key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    host: str,
    begins: timedelta,
    ends: timedelta,
    *,
    ca: bool = False,
    serial: int = 1,
) -> x509.Certificate:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        # Python 3.13 asks for these.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    if ca:
        made = made.add_extension(_SIGNS, True)
    if host:
        made = made.add_extension(x509.SubjectAlternativeName([_general(host)]), False)
    return made.sign(signer, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""TLS of the HTTPS server: the operator's certificate, or one under a CA that the service makes for itself.

Files in the folder `tls` of the state directory: `ca.pem` is what clients must trust, `ca.key` its key; `server.pem`
and `server.key` are what the server presents.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from operations.local.config import Settings
from web_service.core import ConfigurationError
from web_service.local import parse_endpoint, write_private

CA_DAYS = 3650
# Lifetime of the server's certificate, and how long before its expiry it is replaced.
LIFETIME_DAYS = 90
RENEWAL_DAYS = 30

Key = ec.EllipticCurvePrivateKey
_Stamp = tuple[int, int, int]


def anchor_path(settings: Settings) -> Path:
    """The file with the CA certificate that the service makes."""
    return settings.state_dir / "tls" / "ca.pem"


def hosts(settings: Settings) -> list[str]:
    """The names and addresses in the certificate that the service makes."""
    listen = parse_endpoint(settings.operations.listen)
    own = ["localhost", "127.0.0.1", "::1", *settings.tls.names]
    if not listen.is_wildcard:
        own.append(listen.host)
    return list(dict.fromkeys(own))


class ServerTls:
    """The TLS context. `refresh` makes a new one if files have changed, or the certificate is about to expire."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[_Stamp, ...] = ()

    @property
    def context(self) -> ssl.SSLContext:
        """The present context, for one handshake. `refresh` comes first."""
        assert self._context is not None
        return self._context

    def refresh(self, now: dt.datetime) -> bool:
        """Take changes of the files into a new context, for new connections; returns whether there were any.

        Raises ConfigurationError if the files cannot be used. The present context stays then.
        """
        certificate, key = self._files(now)
        try:
            stamps = tuple(_stamp(path) for path in (certificate, key))
            if stamps == self._stamps:
                return False
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{certificate}, {key}: not usable for TLS: {error}") from None
        self._context, self._stamps = context, stamps
        return True

    def _files(self, now: dt.datetime) -> tuple[Path, Path]:
        tls = self._settings.tls
        if tls.certificate and tls.key:
            return tls.certificate, tls.key
        return own_certificate(self._settings, now)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def own_certificate(settings: Settings, now: dt.datetime) -> tuple[Path, Path]:
    """The certificate and the key that the service has made, renewed if need be. Raises ConfigurationError."""
    folder = settings.state_dir / "tls"
    certificate, key = folder / "server.pem", folder / "server.key"
    wanted = hosts(settings)
    if certificate.exists() and key.exists() and _still_good(certificate, wanted, now):
        return certificate, key
    authority, authority_key = _authority(folder, now)
    new_key = ec.generate_private_key(ec.SECP256R1())
    issued = _issue(wanted, new_key, authority, authority_key, now)
    # The key first: a certificate without its key would be found and used.
    write_private(key, _key_pem(new_key))
    write_private(certificate, _pem(issued), 0o644)
    return certificate, key


def _still_good(path: Path, wanted: list[str], now: dt.datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    has = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    return has >= set(wanted) and found.not_valid_after_utc - now > dt.timedelta(days=RENEWAL_DAYS)


def _authority(folder: Path, now: dt.datetime) -> tuple[x509.Certificate, Key]:
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key.exists():
        try:
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{certificate}, {key}: not a usable CA: {error}; delete both") from None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{key}: found another kind of key, expected P-256; delete it and {certificate}")
        return found, loaded
    new = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dane-operations")])
    made = (
        _builder(name, name, new.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(new.public_key()), critical=False)
        .sign(new, hashes.SHA256())
    )
    write_private(key, _key_pem(new))
    write_private(certificate, _pem(made), 0o644)
    return made, new


def _issue(
    wanted: list[str], key: Key, authority: x509.Certificate, authority_key: Key, now: dt.datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dane-operations server")])
    return (
        _builder(subject, authority.subject, key.public_key(), now, LIFETIME_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

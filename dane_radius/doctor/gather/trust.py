"""Gathers facts about the trust anchors and the EAP server's certificate."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from dane_radius.core import (
    AnchorError,
    AnchorRecord,
    Answer,
    Refused,
    normalize,
    parse_index_line,
    parse_leaf,
    pem_to_der,
)
from dane_radius.dns import Resolver
from dane_radius.doctor.facts import AnchorFacts, CertificateFacts, ChainLink
from dane_radius.doctor.raddb import Block
from dane_radius.local import CA_FOLDER, INDEX_FILE
from health_report import CannotTry, Fact, NotTried

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+\Z")
# More CAs than a site has; bounds the time for reading them.
_MAX_READ = 20_000
_MAX_CERTIFICATE_FILE_OCTETS = 1 << 20
_MAX_LOST = 20


def read_anchors(folder: str) -> AnchorFacts:
    """The anchor directory as it is on disk. Raises CannotTry if the folder is missing, OSError."""
    root = Path(folder)
    if not root.is_dir():
        raise CannotTry(f"{folder} is not a folder")
    hashed = sorted(entry.name for entry in os.scandir(root / CA_FOLDER) if _HASHED.match(entry.name))[:_MAX_READ]
    expiries: list[tuple[str, datetime]] = []
    lost = []
    for name in hashed:
        try:
            leaf = parse_leaf(pem_to_der((root / CA_FOLDER / name).read_bytes()))
        except FileNotFoundError:
            lost.append(f"{CA_FOLDER}/{name}")
        except (OSError, AnchorError, Refused):
            lost.append(f"{CA_FOLDER}/{name} (no certificate)")
        else:
            expiries.append((f"{_subject(leaf.der)} ({CA_FOLDER}/{name})", leaf.not_after))
    records, problem = _read_index(root / INDEX_FILE)
    for record in records.values():
        if not (root / CA_FOLDER / record.file).exists():
            lost.append(f"{CA_FOLDER}/{record.file}")
    earliest = min(expiries, key=lambda item: item[1], default=None)
    return AnchorFacts(folder, len(records), len(hashed), earliest, problem, tuple(lost[:_MAX_LOST]))


def _read_index(path: Path) -> tuple[dict[str, AnchorRecord], str | None]:
    records: dict[str, AnchorRecord] = {}
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        for line in whole.split(b"\n"):
            if line:
                parse_index_line(line, records)
    except FileNotFoundError:
        return {}, None
    except (OSError, AnchorError) as error:
        return {}, f"{path.name}: {error}"
    return records, None


def _subject(der: bytes) -> str:
    try:
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        return "a certificate"


def certificate_files(eap: Block) -> tuple[str, str]:
    """The certificate and key files of the TLS configuration that mods-enabled/dane_eap uses. Raises CannotTry."""
    for block in eap.walk():
        if block.kind == "tls-config" and "certificate_file" in block.settings:
            certificate = block.settings["certificate_file"]
            return certificate, block.settings.get("private_key_file", certificate)
    raise CannotTry("mods-enabled/dane_eap names no certificate_file")


def read_certificate(
    certificate_file: str, key_file: str, server_name: str | None, resolver: Fact[Resolver]
) -> CertificateFacts:
    """The server's certificate, and the TLSA records of its name. Raises CannotTry, OSError."""
    with open(certificate_file, "rb") as file:
        octets = file.read(_MAX_CERTIFICATE_FILE_OCTETS)
    try:
        chain = x509.load_pem_x509_certificates(octets)
        leaf = parse_leaf(chain[0].public_bytes(serialization.Encoding.DER))
        names = _names(chain[0])
        allows_server = _allows_server(chain[0])
    except (ValueError, Refused) as error:
        raise CannotTry(f"{certificate_file}: no valid certificate in PEM form: {error}") from error
    record_name = server_name or (names[0] if names else None)
    return CertificateFacts(
        file=certificate_file,
        key_file=key_file,
        chain=tuple(_link(item, chain[index - 1] if index else None) for index, item in enumerate(chain)),
        names=names,
        not_before=chain[0].not_valid_before_utc,
        der=leaf.der,
        spki=leaf.spki,
        key_matches=_key_matches(chain[0], key_file),
        allows_server=allows_server,
        wanted_name=server_name,
        record_name=record_name,
        record=_look_up(record_name, resolver),
    )


def _link(certificate: x509.Certificate, previous: x509.Certificate | None) -> ChainLink:
    return ChainLink(
        certificate.subject.rfc4514_string() or "(no subject)",
        certificate.issuer.rfc4514_string(),
        certificate.not_valid_after_utc.astimezone(UTC),
        _has_issued(certificate, certificate),
        None if previous is None else _has_issued(certificate, previous),
    )


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


def _allows_server(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _key_matches(certificate: x509.Certificate, key_file: str) -> Fact[bool]:
    try:
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except TypeError:
        return NotTried("it has a passphrase")
    except OSError as error:
        return NotTried(error.strerror or str(error))
    except ValueError:
        return NotTried("no private key in PEM form")
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _look_up(name: str | None, resolver: Fact[Resolver]) -> Fact[Answer]:
    if name is None:
        return NotTried("the server has no name")
    if isinstance(resolver, NotTried):
        return resolver
    try:
        return resolver.lookup(normalize(name.encode("utf-8")))
    except (Refused, UnicodeEncodeError) as error:
        return NotTried(f"{name}: {error}")

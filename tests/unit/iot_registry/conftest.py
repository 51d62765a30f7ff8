"""A registry without daemons: database, keys and settings in a temporary directory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from iot_registry.local.config import RegistrySection, Settings
from iot_registry.service import initialization
from iot_registry.service.access import Principal, local_principal
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.store import migrate
from web_service.store import Database

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
WHO: Principal = local_principal("test")


@dataclass
class Bench:
    """What service functions need."""

    settings: Settings
    database: Database
    store: CaKeyStore
    enrollment: Enrollment


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(registry=RegistrySection(state_dir=tmp_path))
    database = Database(settings.database_url)
    migrate.upgrade(database)
    store = CaKeyStore(settings)
    initialization.initialize(database, store, settings, NOW)
    yield Bench(settings, database, store, Enrollment(settings, store))
    database.close()


def csr(name: str, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A DER request with common name and dNSName."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= 64 else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.DER)

"""An independent EST client: strongSwan's `pki`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.iot_registry.parts import Registry, decode_bundle


def pki(*arguments: object) -> bytes:
    done = subprocess.run(["pki", *map(str, arguments)], capture_output=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"pki {arguments[0]}: code {done.returncode}: {done.stderr.decode()[-800:]}")
    return done.stdout


def request(folder: Path, label: str, name: str) -> tuple[Path, Path]:
    """A key and a request, made by the client itself."""
    key, csr = folder / f"{label}.pem", folder / f"{label}.der"
    key.write_bytes(pki("--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
    csr.write_bytes(pki("--req", "--in", key, "--type", "ecdsa", "--dn", f"CN={name}", "--san", name))
    return key, csr


def spki(public: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return public.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_strongswan_gets_the_cas_enrolls_and_renews(sqlite_registry: Registry, tmp_path: Path) -> None:
    registry = sqlite_registry
    name, bundle = registry.add("strongswan")
    data = decode_bundle(bundle)
    anchor, cas = tmp_path / "anchor.pem", tmp_path / "cas.crt"
    anchor.write_text(data["ca"])
    pki("--estca", "--url", registry.url, "--cacert", anchor, "--caout", cas)
    assert {path.name for path in tmp_path.glob("cas*.crt")} == {"cas.crt", "cas-1.crt"}

    trusted = ("--cacert", anchor, "--cacert", cas, "--cacert", tmp_path / "cas-1.crt")
    key, csr = request(tmp_path, "first", name)
    credentials = ("--userpass", f"{name}:{data['token']}")
    first = tmp_path / "first.crt"
    first.write_bytes(pki("--est", "--url", registry.url, "--in", csr, *trusted, *credentials))
    assert spki(x509.load_der_x509_certificate(first.read_bytes())) == spki(x509.load_der_x509_csr(csr.read_bytes()))

    # A new key: the server answers 202 until its record has been in the DNS for a TTL, and the client asks again.
    _key, csr = request(tmp_path, "second", name)
    held = ("--cert", first, "--key", key, "--interval", 1, "--maxpolltime", 30)
    second = x509.load_der_x509_certificate(pki("--est", "--url", registry.url, "--in", csr, *trusted, *held))
    assert spki(second) == spki(x509.load_der_x509_csr(csr.read_bytes()))
    refused = subprocess.run(
        ["pki", "--est", "--url", registry.url, "--in", str(csr), *map(str, trusted), "--userpass", f"{name}:wrong"],
        capture_output=True,
    )
    assert refused.returncode != 0

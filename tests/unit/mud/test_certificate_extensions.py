"""The MUD extensions of device certificates: read as they are, refused when they are malformed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from mud import MUD_URL_OID, MUDSIGNER_OID, MudExtensionError, mud_url_of, mudsigner_of
from tests.unit.mud.builders import PUBLISHED
from tests.unit.mud.signers import certificate

URL = "https://maker.example/l.json"


def with_extension(folder: Path, oid: x509.ObjectIdentifier, value: bytes) -> x509.Certificate:
    return certificate(folder, "device", extra=[x509.UnrecognizedExtension(oid, value)]).certificate


def ia5(text: bytes, tag: int = 0x16) -> bytes:
    length = bytes((len(text),)) if len(text) < 0x80 else b"\x81" + bytes((len(text),))
    return bytes((tag,)) + length + text


def test_a_published_certificate() -> None:
    device = x509.load_pem_x509_certificate((PUBLISHED / "signed" / "device-with-mudsigner.pem").read_bytes())
    assert mud_url_of(device) == "https://www.ofcourseimright.com/Luminaire_150.json"
    signer = mudsigner_of(device)
    assert signer is not None
    assert b"ascertia@ofcourseimright.com" in signer


def test_a_certificate_without_extensions(tmp_path: Path) -> None:
    device = certificate(tmp_path, "device").certificate
    assert mud_url_of(device) is None
    assert mudsigner_of(device) is None


def test_the_wire_form(tmp_path: Path) -> None:
    assert ia5(URL.encode())[:4] == b"\x16\x1cht"
    assert mud_url_of(with_extension(tmp_path, MUD_URL_OID, ia5(URL.encode()))) == URL
    longest = URL[:-5] + "a" * (255 - len(URL)) + ".json"
    assert len(longest) == 255
    assert mud_url_of(with_extension(tmp_path, MUD_URL_OID, ia5(longest.encode()))) == longest


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x16",
        ia5(URL.encode()) + b"\0",
        ia5(URL.encode())[:-1],
        ia5(URL.encode(), 0x0C),
        ia5(URL.encode(), 0x04),
        URL.encode(),
        ia5(b"http://maker.example/l.json"),
        ia5(b"https://user:password@maker.example/l.json"),
        ia5(b"https://maker.example/l.json#x"),
        ia5(b"https://maker.example/l .json"),
        ia5(b"https://maker.example/l\0.json"),
        ia5(b"https://maker.example/\xff.json"),
        ia5(b"https://maker.example\\@evil.example/"),
        ia5(b"https://[::1/"),
        ia5(b"https://::1/"),
        ia5(b"https://[maker.example]/"),
        ia5(b""),
        b"\x16\x82\x01\x00https://maker.example/" + b"a" * 234,
    ],
)
def test_a_malformed_url(tmp_path: Path, value: bytes) -> None:
    with pytest.raises(MudExtensionError):
        mud_url_of(with_extension(tmp_path, MUD_URL_OID, value))


@pytest.mark.parametrize("value", [b"", b"\x30\x00", b"\x30\x02\x31\x00", b"\x16\x01a", b"\x31\x00", b"\x30\x80", b"x"])
def test_a_malformed_signer(tmp_path: Path, value: bytes) -> None:
    with pytest.raises(MudExtensionError):
        mudsigner_of(with_extension(tmp_path, MUDSIGNER_OID, value))


def test_the_identifiers_are_not_mixed_up(tmp_path: Path) -> None:
    """Public code reads the signer from .25, or the URL from .26."""
    name = certificate(tmp_path, "someone").subject
    device = with_extension(tmp_path, MUDSIGNER_OID, name)
    assert mudsigner_of(device) == name
    assert mud_url_of(device) is None
    other = with_extension(tmp_path, x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26"), ia5(URL.encode()))
    assert mud_url_of(other) is None
    assert mudsigner_of(other) is None

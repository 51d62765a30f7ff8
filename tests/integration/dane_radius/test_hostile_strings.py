"""Certificates with strings that are not UTF-8: every decision about them has its own reason, and none is "failed"."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from tests.harness.eap import authenticate
from tests.harness.pki import Authority, Identity
from tests.integration.dane_radius.conftest import Site

pytestmark = pytest.mark.daemons

NOT_UTF8 = b"\xff\xfe\x80@\xc3"


def tlv(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def raw(oid: str, value: bytes) -> tuple[x509.UnrecognizedExtension, bool]:
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), value), False


def san(*names: str, email: bytes = NOT_UTF8) -> tuple[x509.UnrecognizedExtension, bool]:
    entries = b"".join(tlv(0x82, name.encode()) for name in names)
    return raw("2.5.29.17", tlv(0x30, tlv(0x81, email) + entries))


def policies() -> tuple[x509.UnrecognizedExtension, bool]:
    """certificatePolicies whose CPS URI and user notice are not UTF-8."""
    cps = tlv(0x30, b"\x06\x08\x2b\x06\x01\x05\x05\x07\x02\x01" + tlv(0x16, NOT_UTF8))
    notice = tlv(0x30, b"\x06\x08\x2b\x06\x01\x05\x05\x07\x02\x02" + tlv(0x30, tlv(0x1A, NOT_UTF8)))
    return raw("2.5.29.32", tlv(0x30, tlv(0x30, b"\x06\x03\x2a\x03\x04" + tlv(0x30, cps + notice))))


def comment() -> tuple[x509.UnrecognizedExtension, bool]:
    """Netscape's comment, which OpenSSL prints as it stands."""
    return raw("2.16.840.1.113730.1.13", tlv(0x16, NOT_UTF8))


def sent_by(site: Site, device: Identity, chain: bytes) -> str:
    path = site.peer(device)
    certificate = next(line.split('"')[1] for line in path.read_text().splitlines() if "client_cert=" in line)
    with open(certificate, "ab") as file:
        file.write(chain)
    result = authenticate(site.radius, path)
    decision = site.radius.decision_for(result.station)
    assert result.accepted is (decision["verdict"] == "accept")
    return str(decision["reason"])


@pytest.mark.parametrize("where", ["leaf", "intermediate", "both"])
@pytest.mark.parametrize("what", ["email", "policies", "comment", "all"])
def test_strings_that_are_not_utf8_have_no_say(site: Site, where: str, what: str) -> None:
    name = site.name()
    others = {"email": [], "policies": [policies()], "comment": [comment()], "all": [policies(), comment()]}[what]
    email = what in ("email", "all")

    def extensions(here: str, *names: str) -> list[tuple[x509.ExtensionType, bool]]:
        hostile = where in (here, "both")
        if hostile and email:
            return [san(*names), *others]
        plain = x509.SubjectAlternativeName([x509.DNSName(n) for n in names or ("ca.example",)])
        return [(plain, False), *(others if hostile else [])]

    issuer: Authority = site.ca.sub_authority("Hostile CA", san=None, extensions=extensions("intermediate"))
    device = issuer.issue(san=None, extensions=extensions("leaf", name))
    stranger = issuer.issue(san=None, extensions=extensions("leaf", site.name()))
    site.publish(name, device.tlsa())
    assert sent_by(site, device, issuer.pem) == "dane_match"
    # The same certificate without a record: refused for that reason.
    assert sent_by(site, stranger, issuer.pem) == "tlsa_absent"

"""Certificates with strings that are not UTF-8: every decision about them has its own reason, and none is "failed"."""

from __future__ import annotations

from typing import Any

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


def san(*names: str, tag: int = 0x81) -> tuple[x509.UnrecognizedExtension, bool]:
    """subjectAltName with a string that is not UTF-8: an rfc822Name (0x81) or a URI (0x86)."""
    entries = b"".join(tlv(0x82, name.encode()) for name in names)
    return raw("2.5.29.17", tlv(0x30, tlv(tag, NOT_UTF8) + entries))


def crl_points() -> tuple[x509.UnrecognizedExtension, bool]:
    """cRLDistributionPoints with a URI that is not UTF-8."""
    return raw("2.5.29.31", tlv(0x30, tlv(0x30, tlv(0xA0, tlv(0xA0, tlv(0x86, NOT_UTF8))))))


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
@pytest.mark.parametrize("what", ["email", "uri", "policies", "comment", "crl", "all"])
def test_strings_that_are_not_utf8_have_no_say(site: Site, where: str, what: str) -> None:
    name = site.name()
    others = {"policies": [policies()], "comment": [comment()], "crl": [crl_points()]}
    others["all"] = [policies(), comment(), crl_points()]
    tag = {"email": 0x81, "uri": 0x86, "all": 0x86}.get(what)

    def extensions(here: str, *names: str) -> list[tuple[x509.ExtensionType, bool]]:
        hostile = where in (here, "both")
        if hostile and tag:
            return [san(*names, tag=tag), *others.get(what, [])]
        plain = x509.SubjectAlternativeName([x509.DNSName(n) for n in names or ("ca.example",)])
        return [(plain, False), *(others.get(what, []) if hostile else [])]

    issuer: Authority = site.ca.sub_authority("Hostile CA", san=None, extensions=extensions("intermediate"))
    device = issuer.issue(san=None, extensions=extensions("leaf", name))
    stranger = issuer.issue(san=None, extensions=extensions("leaf", site.name()))
    site.publish(name, device.tlsa())
    assert sent_by(site, device, issuer.pem) == "dane_match"
    # The same certificate without a record: refused for that reason.
    assert sent_by(site, stranger, issuer.pem) == "tlsa_absent"


# Bytes of a NAS-IP-Address that is no address: eapol_test adds 127.0.0.1 unless it is told of one.
NO_ADDRESS = "-N4:x:00"


@pytest.mark.parametrize(
    ("group", "options", "rule"),
    [
        ("house", {}, "house-only"),
        ("house", {"ssid": "guests"}, None),
        ("cellar", {"nas": "switch-7"}, "cellar-only"),
        ("cellar", {"extra": ("-N4:x:c0000209",)}, "cellar-only"),
        ("cellar", {}, None),
        # The place is where the packet came from, if the NAS does not say.
        ("loopback", {"extra": (NO_ADDRESS,)}, "loopback-only"),
        ("loopback", {"extra": ("-N4:x:c0000209",)}, None),
    ],
)
@pytest.mark.parametrize("hostile", [False, True])
def test_the_place_counts_as_ever(
    site: Site, hostile: bool, group: str, options: dict[str, Any], rule: str | None
) -> None:
    name = site.name(group)
    strings = san(name, tag=0x86) if hostile else (x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    device = site.ca.issue(san=None, extensions=[strings])
    site.publish(name, device.tlsa())
    result, decision = site.authenticate(device, **options)
    assert (result.accepted, decision.get("rule")) == (rule is not None, rule)
    assert decision["outer_identity"] == "anonymous@example.org"
    if rule is None:
        assert decision["reason"] == "policy_network"


@pytest.mark.parametrize(
    ("options", "admitted"),
    [
        ({}, True),
        # Connect-Info and NAS-Port-Id, which no decision reads.
        ({"extra": ("-N77:x:fffe80", "-N87:x:c328")}, True),
        ({"ssid": None, "extra": ("-N30:x:30322d30303a696f74ff",)}, False),
        ({"extra": (f"-N4:x:{b'switch'.hex()}", "-N77:x:fffe80")}, True),
    ],
)
def test_attributes_of_the_nas_that_are_not_utf8(site: Site, options: dict[str, Any], admitted: bool) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa())
    result = authenticate(site.radius, site.peer(device), **options)
    assert result.accepted is admitted
    assert result.code == ("Access-Accept" if admitted else "Access-Reject")

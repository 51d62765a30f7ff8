"""TLS profiles (RFC 9761): read, shown, and never taken for something that a packet filter enforces."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from mud import Code, Mode, MudError, compile_acl, describe_rule, parse_mud
from mud.limits import MAX_TLS_PROFILES, MAX_TLS_VALUES
from tests.unit.mud.builders import ACLS, MUD, ace, acl, document, eq, mud_file, octets

PROFILE: dict[str, Any] = {
    "name": "cloud",
    "supported-tls-version": ["tls12", "tls13"],
    "supported-dtls-version": ["dtls13"],
    "cipher-suite": [4865, 49195, 65535],
    "extension-type": [10, 11, 13],
    "accept-list-ta-cert": [base64.b64encode(b"anchor").decode()],
    "psk-key-exchange-mode": [1],
    "supported-group": [29, 4588],
    "signature-algorithm": [1027],
    "signature-algorithm-cert": [2053],
    "application-protocol": ["h2", "http/1.1"],
    "cert-compression-algorithm": [1],
    "certificate-authorities": ["CN=Maker"],
}


def entry(*profiles: dict[str, Any]) -> dict[str, Any]:
    matches = {"ietf-acl-tls:client-profiles": {"tls-dtls-profile": list(profiles)}}
    return ace("a", ipv4={"ietf-acldns:dst-dnsname": "cloud.example"}, tcp={"destination-port": eq(443)}, **matches)


def test_a_profile_is_read_and_shown() -> None:
    file = mud_file([entry(PROFILE)], **{"ietf-mud-tls:is-tls-dtls-profile-supported": True})
    assert file.mud.tls_profile_supported
    made = compile_acl(file)
    (rule,) = made.from_device
    (profile,) = rule.tls_profiles
    assert profile.describe() == (
        "versions: TLS 1.2, TLS 1.3, DTLS 1.3",
        "cipher suites: TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0xffff",
        "extensions: 10, 11, 13",
        "key exchange with PSK: psk_dhe_ke",
        "groups: x25519, 0x11ec",
        "signatures: ecdsa_secp256r1_sha256",
        "signatures in certificates: rsa_pss_rsae_sha384",
        "application protocols: h2, http/1.1",
        "certificate compression: 1",
        "certificate authorities: CN=Maker",
        f"trust anchors, by the start of their SHA-256: {hashlib.sha256(b'anchor').hexdigest()[:16]}",
    )
    assert "TLS as in cloud" in describe_rule(rule)
    assert [finding.code for finding in made.findings] == [Code.TLS_NOT_ENFORCED]


def test_a_drop_by_tls_profile_drops_without_it() -> None:
    made = acl([{**entry(PROFILE), "actions": {"forwarding": "drop"}}])
    assert made.from_device[0].tls_profiles == ()
    assert [finding.code for finding in made.findings] == [Code.WIDENED_DROP]


@pytest.mark.parametrize(
    "change",
    [
        {"supported-tls-version": ["tls11"]},
        {"supported-tls-version": ["tls13", "tls13"]},
        {"cipher-suite": [65536]},
        {"cipher-suite": ["4865"]},
        {"cipher-suite": 4865},
        {"cipher-suite": list(range(MAX_TLS_VALUES + 1))},
        {"accept-list-ta-cert": ["!"]},
        {"application-protocol": ["a\x1b"]},
        {"name": ""},
        {"unknown": 1},
    ],
)
def test_an_invalid_profile_makes_its_entry_permit_nothing(change: dict[str, Any]) -> None:
    data = document([entry({**PROFILE, **change})])
    with pytest.raises(MudError):
        parse_mud(octets(data))
    file = parse_mud(octets(data), Mode.LENIENT)
    assert compile_acl(file).from_device == ()


def test_too_many_profiles() -> None:
    profiles = [{"name": str(number)} for number in range(MAX_TLS_PROFILES + 1)]
    mud_file([entry(*profiles[1:])])
    with pytest.raises(MudError):
        mud_file([entry(*profiles)])


def test_the_spelling_of_the_rfc_s_own_example() -> None:
    """Section 7 of RFC 9761 uses other names than its YANG module, a quoted boolean, and actions inside matches."""
    data = document([entry({"name": "p", "supported-tls-version": ["tls13"], "cipher-suite": [4865]})])
    expected = compile_acl(parse_mud(octets(data)))
    data[MUD]["ietf-mud-tls:is-tls-dtls-profile-supported"] = "true"
    item = data[ACLS]["acl"][0]["aces"]["ace"][0]
    item["matches"].pop("ietf-acl-tls:client-profiles")
    item["matches"]["ietf-acl-tls:client-profile"] = {
        "tls-dtls-profiles": [{"name": "p", "supported-tls-versions": ["tls13"], "cipher-suite": [4865]}]
    }
    item["matches"]["actions"] = item.pop("actions")
    with pytest.raises(MudError):
        parse_mud(octets(data))
    file = parse_mud(octets(data), Mode.LENIENT)
    assert file.mud.tls_profile_supported
    assert compile_acl(file) == expected
    assert {finding.code for finding in file.findings} == {Code.DRAFT_NAME, Code.QUOTED_BOOLEAN, Code.MISPLACED}

"""Real EAP-TLS through the real server: which devices are admitted, with what, and why others are refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from dane_radius.local.control_socket import ask
from tests.harness.eap import authenticate
from tests.harness.freeradius import SECRET
from tests.harness.pki import authority, self_signed
from tests.harness.process import run, wait_for
from tests.integration.dane_radius.conftest import POLICY, Site

pytestmark = pytest.mark.daemons


def test_the_server_does_not_run_as_root(site: Site) -> None:
    assert site.radius.daemon is not None
    status = Path(f"/proc/{site.radius.daemon.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_a_grant_reaches_the_access_accept_whole(site: Site, tls: str) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa())
    result, decision = site.authenticate(device, tls=tls)
    assert result.accepted
    assert result.tls_version == tls
    assert decision["reason"] == "dane_match"
    assert result.text("User-Name") == name
    assert result.attributes["Tunnel-Type"] == ["0000000d"]
    assert result.attributes["Tunnel-Medium-Type"] == ["00000006"]
    assert result.attributes["Tunnel-Private-Group-Id"] == [b"42".hex()]
    assert result.attributes["Idle-Timeout"] == ["600"]
    assert result.attributes["Class"] == [b"cameras".hex()]
    assert result.attributes["Termination-Action"] == ["1"]
    # At most the TTL (60 s) times the default factor, although the rule would allow eight hours.
    assert 600 <= int(result.attributes["Session-Timeout"][0]) <= 720
    # eapol_test prints attributes that it has no name for without their value: Filter-Id, and two NAS-Filter-Rules in
    # one attribute, separated by NUL (RFC 4849 section 2).
    assert f"Attribute 11 (?Unknown?) length={2 + len('iot-default')}" in result.output
    rules = "permit in udp from any to any 53\0deny in ip from any to any"
    assert f"Attribute 92 (?Unknown?) length={2 + len(rules)}" in result.output


@pytest.mark.parametrize(
    ("usage", "selector", "matching_type"), [(u, s, m) for u in (3,) for s in (0, 1) for m in (0, 1, 2)]
)
def test_every_form_of_dane_ee_is_accepted(site: Site, usage: int, selector: int, matching_type: int) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(usage, selector, matching_type))
    result, decision = site.authenticate(device)
    assert result.accepted
    assert decision["evidence"]["matched"].startswith(f"{usage} {selector} {matching_type} ")


def test_a_name_is_compared_without_regard_to_case(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name.upper())
    site.publish(name, device.tlsa())
    result, _ = site.authenticate(device)
    assert result.text("User-Name") == name


def test_a_stronger_digest_silences_a_weaker_one_that_would_match(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    other = site.ca.issue(name)
    site.publish(name, device.tlsa(3, 1, 1), other.tlsa(3, 1, 2))
    assert site.refusal(device) == "tlsa_mismatch"


def test_an_unusable_record_neither_admits_nor_hides_its_neighbour(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    # As raw data: dnspython refuses to send such a record, as a careless registry would not.
    _publish_raw(site, name, bytes.fromhex("030101abcd"))
    assert site.refusal(device) == "tlsa_unusable"
    site.publish(name, device.tlsa())
    site.unbound.flush(name)
    _flush(site, name)
    result, decision = site.authenticate(device)
    assert result.accepted
    assert decision["evidence"]["set_aside"] == [["3 1 1 abcd", "digest of 2 octets, 32 expected"]]


def _publish_raw(site: Site, name: str, rdata: bytes) -> None:
    update = site.knot.update("iot.example")
    generic = dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, rdata)
    update.add(dns.name.from_text(name), dns.rdataset.from_rdata(60, generic))
    site.knot.send(update)


def _flush(site: Site, name: str) -> None:
    ask(str(site.radius.control_socket), "flush", name=name)


def test_flush_makes_a_deletion_count_at_once(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(), ttl=3600)
    assert site.authenticate(device)[0].accepted
    site.knot.delete_tlsa("iot.example", name)
    assert site.authenticate(device)[0].accepted, "the answer was not cached for its TTL"
    site.unbound.flush(name)
    _flush(site, name)
    assert site.refusal(device) == "tlsa_absent"


@pytest.mark.parametrize(
    ("names", "san", "reason"),
    [
        ([], None, "san_missing"),
        ([], [], "san_empty"),
        ([], [x509.IPAddress(ipaddress.ip_address("192.0.2.1"))], "san_ip_address"),
        ([], [x509.RFC822Name("a@iot.example")], "san_without_dns_name"),
        ([], [x509.DNSName("a1._device.iot.example\0.evil.example")], "name_nul"),
        ([], [x509.DNSName("*.camera._device.iot.example")], "name_wildcard"),
        ([], [x509.DNSName("192.0.2.1")], "name_ip_literal"),
        ([], [x509.DNSName("a b._device.iot.example")], "name_malformed"),
        ([], [x509.DNSName("x" * 64 + "._device.iot.example")], "name_too_long"),
        ([], [x509.DNSName("a._device.iot.example"), x509.DNSName("b._device.iot.example")], "san_ambiguous"),
        ([], [x509.DNSName("a.other.example")], "policy_no_rule"),
        ([], [x509.DNSName("a.blocked._device.iot.example")], "policy_denied"),
    ],
)
def test_a_certificate_without_one_usable_name_is_refused(
    site: Site, names: list[str], san: list[x509.GeneralName] | None, reason: str
) -> None:
    extension = None if san is None else x509.SubjectAlternativeName(san)
    device = site.ca.issue(*names, san=extension, common_name="a1.camera._device.iot.example")
    assert site.refusal(device) == reason


def test_two_names_of_which_policy_selects_one(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name, "portal.vendor.example")
    site.publish(name, device.tlsa())
    result, _ = site.authenticate(device)
    assert result.text("User-Name") == name


def test_a_subject_alternative_name_with_hundreds_of_names_is_refused(site: Site) -> None:
    # FreeRADIUS itself refuses handshake messages above 16 KiB, long before a decision.
    names = [f"n{i:05}.camera._device.iot.example" for i in range(350)]
    device = site.ca.issue(*names)
    assert site.refusal(device, timeout=30) == "san_ambiguous"
    enormous = site.ca.issue(*[f"n{i:05}.camera._device.iot.example" for i in range(3000)])
    assert authenticate(site.radius, site.peer(enormous), timeout=30).code == "Access-Reject"


def test_the_outer_identity_decides_nothing(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    victim = site.name()
    victim_device = site.ca.issue(victim)
    site.publish(victim, victim_device.tlsa())
    result, decision = site.authenticate(device)
    assert not result.accepted
    assert decision["name"] == name
    assert decision["reason"] == "tlsa_absent"


def test_a_self_signed_device_gets_in_only_if_its_certificate_is_an_anchor(site: Site) -> None:
    name = site.name()
    device = self_signed(name)
    site.publish(name, device.tlsa(3, 0, 0))
    refused = authenticate(site.radius, site.peer(device))
    assert refused.code == "Access-Reject"
    site.radius.add_anchor(device)
    result, _ = site.authenticate(device)
    assert result.accepted


def test_a_certificate_of_an_unknown_ca_never_reaches_a_decision(site: Site) -> None:
    name = site.name()
    device = authority("Unknown CA").issue(name)
    site.publish(name, device.tlsa())
    before = len(site.radius.decisions())
    result = authenticate(site.radius, site.peer(device))
    assert result.code == "Access-Reject"
    assert len(site.radius.decisions()) == before


def test_an_expired_certificate_is_refused_in_the_handshake(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name, days=0.01)
    site.publish(name, device.tlsa())
    assert authenticate(site.radius, site.peer(device)).code == "Access-Reject"


def test_rsa_and_server_auth_certificates(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name, key=rsa.generate_private_key(65537, 2048))
    site.publish(name, device.tlsa())
    assert site.authenticate(device)[0].accepted
    wrong = site.ca.issue(name, eku=(ExtendedKeyUsageOID.SERVER_AUTH,))
    assert authenticate(site.radius, site.peer(wrong)).code == "Access-Reject"


def test_networks_by_ssid_and_nas(site: Site) -> None:
    house = site.name("house")
    device = site.ca.issue(house)
    site.publish(house, device.tlsa())
    assert site.authenticate(device, ssid="iot-upstairs")[0].attributes["Tunnel-Private-Group-Id"] == [b"10".hex()]
    assert site.refusal(device, ssid="guests") == "policy_network"
    cellar = site.name("cellar")
    device = site.ca.issue(cellar)
    site.publish(cellar, device.tlsa())
    assert site.authenticate(device, nas="switch-1")[0].attributes["Tunnel-Private-Group-Id"] == [b"11".hex()]
    assert site.refusal(device, nas="ap-1") == "policy_network"


def test_strength_is_required_by_the_rule(site: Site) -> None:
    name = site.name("lock")
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(1, 1, 1))
    assert site.refusal(device) == "policy_strength"


def test_pkix_ee_needs_an_anchor_of_the_identity_domain(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(1, 1, 1))
    # The CA is in OpenSSL's folder, but the index does not let it vouch for this domain.
    assert site.refusal(device) == "chain_invalid"


def test_monitor_mode_lets_in_and_says_so(site: Site) -> None:
    name = site.name("watched")
    result, decision = site.authenticate(site.ca.issue(name))
    assert result.accepted
    assert decision["reason"] == "tlsa_absent"
    assert decision["monitored"] is True
    assert result.attributes["Tunnel-Private-Group-Id"] == [b"99".hex()]
    sample = 'dane_radius_decisions_total{monitored="true",reason="tlsa_absent",verdict="accept"}'
    assert site.radius.metric(sample) >= 1


def test_an_unsigned_zone_is_insecure(site: Site) -> None:
    name = site.name(zone="plain.example")
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(), zone="plain.example")
    assert site.refusal(device) == "dns_insecure"


def test_a_changed_policy_counts_and_a_broken_one_does_not(site: Site) -> None:
    name = site.name("reload")
    device = site.ca.issue(name)
    site.publish(name, device.tlsa())
    assert site.authenticate(device)[0].attributes["Tunnel-Private-Group-Id"] == [b"42".hex()]
    try:
        site.radius.write_policy(POLICY.replace("vlan: 42", "vlan: 43"))
        wait_for(lambda: '"event":"policy loaded"' in site.radius.decision_log.read_text(), "the new policy")
        assert site.authenticate(device)[0].attributes["Tunnel-Private-Group-Id"] == [b"43".hex()]
        site.radius.write_policy(POLICY.replace("vlan: 42", "vlan: 4095"))
        wait_for(lambda: "policy not replaced" in site.radius.decision_log.read_text(), "the broken policy to be seen")
        assert site.authenticate(device)[0].attributes["Tunnel-Private-Group-Id"] == [b"43".hex()]
        assert "a VLAN ID from 1 to 4094 is expected" in site.radius.decision_log.read_text()
        assert site.radius.metric("dane_radius_policy_file_broken") == 1
    finally:
        site.radius.write_policy(POLICY)
    wait_for(lambda: site.radius.metric("dane_radius_policy_file_broken") == 0, "the good policy")


def test_a_rotated_log_is_reopened(site: Site) -> None:
    device = site.ca.issue(site.name())
    site.authenticate(device)
    moved = site.radius.decision_log.with_suffix(".1")
    site.radius.decision_log.rename(moved)
    wait_for(site.radius.decision_log.exists, "the log to be reopened")
    _, decision = site.authenticate(device)
    assert decision["reason"] == "tlsa_absent"


def test_radius_without_eap_is_refused(site: Site) -> None:
    request = "User-Name = bob\nUser-Password = hello\nMessage-Authenticator = 0x00\n"
    with pytest.raises(RuntimeError, match="Access-Reject"):
        run(["radclient", "-x", f"127.0.0.1:{site.radius.auth_port}", "auth", SECRET], stdin=request)


def test_no_session_file_is_left(site: Site) -> None:
    assert list(site.radius.session_dir.iterdir()) == []

"""Certificates too long for one packet: EAP-TLS fragments in both directions, up to FreeRADIUS's limit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.harness.eap import authenticate
from tests.harness.freeradius import SERVER_NAME, FreeRadius
from tests.harness.pki import Authority, Identity, authority
from tests.harness.relay import REPLY, REQUEST, Drop, Relay
from tests.integration.network.resilience.network import Network, next_name

pytestmark = pytest.mark.daemons

TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])
EAP_TLS, EAP_MESSAGE = 13, 79
MORE_FRAGMENTS = 0x40


@dataclass(frozen=True)
class Site:
    """A server with an RSA-4096 certificate behind a long chain, and the root of the devices' chains."""

    server: FreeRadius
    root: Authority
    key: rsa.RSAPrivateKey

    def device(self, name: str, intermediates: int) -> tuple[Identity, bytes]:
        """A device's certificate, and the chain behind it in PEM."""
        issuer, chain = long_chain(self.root, intermediates, self.key)
        device = issuer.issue(name, key=self.key)
        print(f"Certificate message of {len(device.der) + len(chain) * 3 // 4} octets")
        return device, chain


def long_chain(root: Authority, count: int, key: rsa.RSAPrivateKey) -> tuple[Authority, bytes]:
    """`count` intermediate CAs, each below the one before: the last, and all of them in PEM, the last first."""
    last, pems = root, []
    for number in range(count):
        last = last.sub_authority(f"Intermediate CA number {number}", key=key)
        pems.append(last.pem)
    return last, b"".join(reversed(pems))


@pytest.fixture(scope="module")
def site(net: Network) -> Iterator[Site]:
    key = rsa.generate_private_key(65537, 4096)
    root = authority("RSA root", key=key)
    server = net.server("rsa")
    server.add_anchor(root)
    issuer, chain = long_chain(server.server_ca, 6, key)
    certificate = issuer.issue(SERVER_NAME, common_name=SERVER_NAME, eku=None, key=key)
    (server.folder / "pki" / "server.pem").write_bytes(certificate.pem + chain)
    (server.folder / "pki" / "server.key").write_bytes(certificate.key_pem)
    with server:
        yield Site(server, root, key)


def attributes(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a RADIUS packet (RFC 2865 section 5)."""
    at = 20
    while at < len(packet):
        yield packet[at], packet[at + 2 : at + packet[at + 1]]
        at += packet[at + 1]


def count_fragments(into: Counter[str]) -> Drop:
    """A `drop` that loses nothing. It counts EAP-TLS packets with the M (more fragments) bit: RFC 5216 section 3.1."""

    def look(direction: str, packet: bytes) -> bool:
        eap = b"".join(value for number, value in attributes(packet) if number == EAP_MESSAGE)
        # Code, identifier, length, then type and flags.
        if len(eap) > 5 and eap[4] == EAP_TLS and eap[5] & MORE_FRAGMENTS:
            into[direction] += 1
        return False

    return look


@TLS
@pytest.mark.parametrize("vouched", [True, False])
def test_rsa_4096_and_long_chains_in_fragments(net: Network, site: Site, vouched: bool, tls: str) -> None:
    name = next_name()
    device, chain = site.device(name, intermediates=7)
    if vouched:
        net.vouch(name, device)
    fragments: Counter[str] = Counter()
    with Relay(site.server.auth_port, count_fragments(fragments)) as relay:
        config = net.peer(site.server, device, tls=tls, chain=chain)
        result = authenticate(site.server, config, port=relay.port)
    assert result.accepted == vouched
    assert result.tls_version == tls
    decision = site.server.decision_for(result.station)
    assert (decision["name"], decision["reason"]) == (name, "dane_match" if vouched else "tlsa_absent")
    assert fragments[REQUEST] >= 5
    assert fragments[REPLY] >= 5


@TLS
def test_a_chain_beyond_the_limit_is_refused_and_the_server_lives(net: Network, site: Site, tls: str) -> None:
    name = next_name()
    device, chain = site.device(name, intermediates=30)
    net.vouch(name, device)
    result = authenticate(site.server, net.peer(site.server, device, tls=tls, chain=chain))
    assert not result.accepted
    assert result.code == "Access-Reject"
    assert site.server.decisions_about(result.station) == []
    # The words of FreeRADIUS 3.2.1, and of 3.2.7.
    assert re.search(r"(size that we can handle \(|maximum record size of )16384 bytes", site.server.log.read_text())
    assert site.server.daemon is not None
    assert site.server.daemon.running
    # The same device with a chain that fits.
    fitting, chain = site.device(name, intermediates=1)
    assert authenticate(site.server, net.peer(site.server, fitting, tls=tls, chain=chain)).accepted

"""Lookups through the real Unbound: its answer in each situation, and the result of the lookup."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dane_radius.core.answers import Absence, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.dns.resolver import LoopbackResolver, TlsResolver
from dane_radius.dns.stream import StreamClient
from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, authority
from tests.harness.process import free_port, wait_for_async
from tests.harness.unbound import Unbound
from tests.harness.zones import tampered_zone

pytestmark = pytest.mark.daemons

DIGEST = "3 1 1 " + "ab" * 32
RECORDS = f"""\
one._device TLSA {DIGEST}
*.wild._device TLSA {DIGEST}
real.wild._device TXT "here"
alias._device CNAME one._device
loop-a._device CNAME loop-b._device
loop-b._device CNAME loop-a._device
away._device CNAME one._device.open.example.
broken._device CNAME cam._device.tampered.example.
short._device 3 TLSA {DIGEST}
zero._device 0 TLSA {DIGEST}
""" + "".join(f"many._device TLSA 3 1 1 {number:064x}\n" for number in range(20))


class Names:
    """The zones, the resolver, and a server that never answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca: Authority = authority("Resolver CA")
        certificate, key = self.ca.issue("resolver.example", eku=None).save(folder / "tls", "resolver")
        self.ca_file = folder / "tls" / "ca.pem"
        self.ca_file.write_bytes(self.ca.pem)
        device = self.ca.issue("big._device.names.example")
        big = f"big._device TLSA 4 0 0 {device.der.hex()}\n" + "".join(
            f"big._device TLSA 3 0 0 {self.ca.issue('x.example').der.hex()}\n" for _ in range(3)
        )
        tampered, anchor = tampered_zone(folder / "signing", "tampered.example", f"cam._device TLSA {DIGEST}")
        zones = [
            Zone("names.example", RECORDS + big),
            Zone("nsec3.example", f"one._device TLSA {DIGEST}\nother._device TXT x\n", nsec3=True),
            Zone("open.example", f"one._device TLSA {DIGEST}", signed=False),
            Zone("tampered.example", signed=False, verbatim=tampered),
        ]
        self.knot = Knot(folder / "knot", zones)
        # Nobody reads from this socket, so queries stay unanswered.
        self.hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.hole.bind(("127.0.0.1", 0))
        self.zones = zones
        self.tls = (certificate, key)
        self.anchor = anchor
        self.unbound: Unbound

    def start(self) -> None:
        self.knot.start()
        stubs = {zone.name: ("127.0.0.1", self.knot.port) for zone in self.zones}
        stubs["hole.example"] = ("127.0.0.1", self.hole.getsockname()[1])
        stubs["lame.example"] = ("127.0.0.1", free_port())
        anchors = self.anchor + "".join(self.knot.trust_anchors(z) for z in ("names.example", "nsec3.example"))
        certificate, key = self.tls
        self.unbound = Unbound(
            self.folder / "unbound",
            stubs,
            anchors,
            tls_port=free_port(),
            tls_key=key,
            tls_certificate=certificate,
        ).start()

    def stop(self) -> None:
        self.unbound.stop()
        self.knot.stop()
        self.hole.close()

    @property
    def resolver(self) -> LoopbackResolver:
        return LoopbackResolver(port=self.unbound.port)


@pytest.fixture(scope="module")
def names(folder: Path) -> Iterator[Names]:
    names = Names(folder / "names")
    names.start()
    yield names
    names.stop()


def test_secure(names: Names) -> None:
    answer = names.resolver.lookup("one._device.names.example")
    assert isinstance(answer, Secure)
    assert [str(record) for record in answer.records] == [DIGEST]
    assert 0 < answer.ttl <= 60


def test_a_wildcard_answers_for_names_that_do_not_exist_only(names: Names) -> None:
    assert isinstance(names.resolver.lookup("any.wild._device.names.example"), Secure)
    existing = names.resolver.lookup("real.wild._device.names.example")
    assert existing == SecureAbsent(Absence.NODATA, existing.ttl)  # type: ignore[union-attr]  # the test is that it has one


@pytest.mark.parametrize("zone", ["names.example", "nsec3.example"])
def test_proven_absence(names: Names, zone: str) -> None:
    nothing = names.resolver.lookup(f"nobody._device.{zone}")
    assert isinstance(nothing, SecureAbsent)
    assert nothing.absence is Absence.NXDOMAIN
    empty = names.resolver.lookup(f"_device.{zone}")
    assert isinstance(empty, SecureAbsent)
    assert empty.absence is Absence.NODATA


def test_a_secure_cname_is_followed_and_named(names: Names) -> None:
    answer = names.resolver.lookup("alias._device.names.example")
    assert isinstance(answer, Secure)
    assert answer.canonical_name == "one._device.names.example"


def test_one_insecure_hop_makes_the_answer_insecure(names: Names) -> None:
    assert isinstance(names.resolver.lookup("away._device.names.example"), Insecure)
    assert isinstance(names.resolver.lookup("one._device.open.example"), Insecure)


def test_one_bogus_hop_makes_the_answer_bogus(names: Names) -> None:
    assert isinstance(names.resolver.lookup("broken._device.names.example"), Bogus)
    direct = names.resolver.lookup("cam._device.tampered.example")
    assert isinstance(direct, Bogus)
    assert direct.ede_code in range(6, 13)


def test_a_loop_of_cnames_is_no_answer(names: Names) -> None:
    assert isinstance(names.resolver.lookup("loop-a._device.names.example"), Unavailable)


def test_a_large_rrset_comes_over_tcp(names: Names) -> None:
    answer = names.resolver.lookup("many._device.names.example")
    assert isinstance(answer, Secure)
    assert len(answer.records) == 20
    big = names.resolver.lookup("big._device.names.example")
    assert isinstance(big, Secure)
    assert sorted(record.usage for record in big.records) == [3, 3, 3, 4]
    assert max(len(record.data) for record in big.records) > 400


def test_ttls_are_the_resolvers(names: Names) -> None:
    short = names.resolver.lookup("short._device.names.example")
    assert isinstance(short, Secure)
    assert short.ttl <= 3
    zero = names.resolver.lookup("zero._device.names.example")
    assert isinstance(zero, Secure)
    assert zero.ttl == 0


@pytest.mark.parametrize("zone", ["lame.example", "hole.example"])
def test_dead_servers_are_unavailable_in_bounded_time(names: Names, zone: str) -> None:
    began = time.monotonic()
    answer = LoopbackResolver(port=names.unbound.port, timeout=1.0).lookup(f"x._device.{zone}")
    assert isinstance(answer, Unavailable)
    # Not a measurement: an unbounded wait would take many times as long.
    assert time.monotonic() - began < 5


def test_a_refusing_and_a_missing_resolver_are_unavailable(names: Names) -> None:
    refused = names.resolver.lookup("x._device.elsewhere.example")
    assert isinstance(refused, Unavailable)
    assert "REFUSED" in refused.detail
    missing = LoopbackResolver(port=free_port()).lookup("one._device.names.example")
    assert isinstance(missing, Unavailable)
    assert "not listening" in missing.detail


def test_dns_over_tls_to_a_named_resolver(names: Names) -> None:
    assert names.unbound.tls_port is not None
    good = TlsResolver("127.0.0.1", "resolver.example", names.unbound.tls_port, ca_file=str(names.ca_file))
    answer = good.lookup("one._device.names.example")
    assert isinstance(answer, Secure)
    assert isinstance(good.lookup("many._device.names.example"), Secure)
    other_name = TlsResolver("127.0.0.1", "other.example", names.unbound.tls_port, ca_file=str(names.ca_file))
    foreign = names.folder / "tls" / "foreign.pem"
    foreign.write_bytes(authority("Foreign CA").pem)
    other_ca = TlsResolver("127.0.0.1", "resolver.example", names.unbound.tls_port, ca_file=str(foreign))
    for resolver in (other_name, other_ca):
        answer = resolver.lookup("one._device.names.example")
        assert isinstance(answer, Unavailable)
        assert "did not authenticate" in answer.detail
    plain = TlsResolver("127.0.0.1", "resolver.example", names.unbound.port, ca_file=str(names.ca_file), timeout=1.0)
    assert isinstance(plain.lookup("one._device.names.example"), Unavailable)


def open_tls(names: Names) -> StreamClient:
    assert names.unbound.tls_port is not None
    client = TlsResolver("127.0.0.1", "resolver.example", names.unbound.tls_port, ca_file=str(names.ca_file)).open()
    assert isinstance(client, StreamClient)
    return client


async def test_a_crowd_over_tls_shares_few_connections_that_are_kept(names: Names) -> None:
    client = open_tls(names)
    before: list[object] = []
    try:
        for turn in range(3):
            crowd = [client.lookup(f"d{turn}-{number}.wild._device.names.example") for number in range(200)]
            assert all(isinstance(answer, Secure) for answer in await asyncio.gather(*crowd))
            connections: list[object] = list(client._connections)
            assert 1 <= len(connections) <= 6
            if turn:
                assert connections == before
            before = connections
    finally:
        await client.close()


async def test_a_kept_connection_that_the_resolver_closed_is_made_anew(names: Names) -> None:
    client = open_tls(names)
    try:
        assert isinstance(await client.lookup("one._device.names.example"), Secure)
        names.unbound.stop()
        down = await client.lookup("one._device.names.example")
        assert isinstance(down, Unavailable)
        names.unbound.start()
        assert isinstance(await client.lookup("one._device.names.example"), Secure)
    finally:
        await client.close()


async def test_unanswered_questions_do_not_hold_up_others_over_tls(names: Names) -> None:
    client = open_tls(names)
    try:
        doomed = [asyncio.create_task(client.lookup(f"d{number}._device.hole.example")) for number in range(30)]
        last = "d29._device.hole.example"
        await wait_for_async(lambda: names.unbound.queries_for(last), "the resolver to have all doomed questions")
        alive = [client.lookup(f"e{number}.wild._device.names.example") for number in range(30)]
        assert all(isinstance(answer, Secure) for answer in await asyncio.gather(*alive))
        assert all(isinstance(answer, Unavailable) for answer in await asyncio.gather(*doomed))
    finally:
        await client.close()


async def test_large_answers_of_a_crowd_share_tcp_connections(names: Names) -> None:
    client = names.resolver.open()
    try:
        answers = await asyncio.gather(*(client.lookup("many._device.names.example") for _ in range(50)))
        assert all(isinstance(answer, Secure) and len(answer.records) == 20 for answer in answers)
    finally:
        await client.close()


POLICY = """\
version: 1
rules:
  - name: all
    identity: ["**._device.names.example", "**._device.hole.example"]
    grant: {vlan: 42}
"""
DEVICES = 200


def test_two_hundred_devices_of_a_dead_zone_leave_a_healthy_zone_alone(folder: Path, names: Names) -> None:
    radius = FreeRadius(folder / "crowd", names.unbound.port, POLICY, [names.ca])
    with radius:
        healthy_device = names.ca.issue("healthy._device.names.example")
        names.knot.add_tlsa("names.example", "healthy._device.names.example", str(healthy_device.tlsa()))
        peers = radius.folder / "peers"
        common = {"identity": "anonymous@example.org", "server_ca": radius.server_ca_file}
        healthy = write_peer_config(peers, healthy_device, name="healthy", **common)
        crowd = [
            write_peer_config(peers, names.ca.issue(f"d{number}._device.hole.example"), name=f"d{number}", **common)
            for number in range(DEVICES)
        ]
        assert authenticate(radius, healthy).accepted
        with ThreadPoolExecutor(40) as pool, ThreadPoolExecutor(2) as others:
            arriving = [pool.submit(authenticate, radius, config, timeout=30) for config in crowd]
            served = [others.submit(authenticate, radius, healthy, timeout=10) for _ in range(30)]
            outcomes = Counter(done.result().accepted for done in served)
            refused = Counter(done.result().code for done in arriving)
        assert outcomes == {True: 30}
        assert refused == {"Access-Reject": DEVICES}
        reasons = {d["reason"] for d in radius.decisions() if d["verdict"] == "reject"}
        assert reasons <= {"dns_unavailable", "dns_overloaded"}
        assert radius.metric("dane_radius_dns_waiting") == 0
    assert os.path.exists(healthy)

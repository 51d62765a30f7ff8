"""Each kind of condition: the packet that it allows passes, and its neighbours do not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from mud import (
    Action,
    Code,
    DeviceAcl,
    Direction,
    DnsName,
    Family,
    Manufacturer,
    Mode,
    Packet,
    PeerFacts,
    Rule,
    compile_acl,
    decide,
    parse_mud,
)
from tests.unit.mud.builders import ACLS, URL, ace, acl, document, eq, from_name, mud_file, octets, to_name

FROM, TO = Direction.FROM_DEVICE, Direction.TO_DEVICE
CLOUD = PeerFacts(ip_address("192.0.2.1"), names=frozenset({"cloud.example"}))
HTTPS = Packet(FROM, Family.IPV4, CLOUD, ip_address("10.0.0.5"), 6, 40000, 443, initiated=FROM)
DNS_CLASS, NTP_CLASS = "urn:ietf:params:mud:dns", "urn:ietf:params:mud:ntp"
OTHER_URL = "https://maker.example/lamp.json"


def passes(made: DeviceAcl, packet: Packet) -> bool:
    return decide(made, packet).action is Action.ACCEPT


def peer(**facts: Any) -> Packet:
    """A UDP packet to a peer about which these facts are known."""
    return Packet(FROM, Family.IPV4, PeerFacts(ip_address("192.0.2.9"), **facts), ip_address("10.0.0.5"), 17, 5000, 53)


def check(made: DeviceAcl, good: Packet, bad: list[Packet]) -> None:
    assert passes(made, good)
    for packet in bad:
        assert packet != good
        assert not passes(made, packet), packet


def test_a_device_without_entries_may_do_nothing() -> None:
    for made in (acl(), acl([], [])):
        assert made.default is Action.DROP
        assert not passes(made, HTTPS)
        assert decide(made, HTTPS).rule is None


def test_a_name_a_port_and_who_opened_the_connection() -> None:
    made = acl([to_name()], [from_name()])
    bad = [
        replace(HTTPS, peer=replace(CLOUD, names=frozenset({"cloud.example.evil.example", "example"}))),
        replace(HTTPS, peer=replace(CLOUD, names=frozenset())),
        replace(HTTPS, peer_port=442),
        replace(HTTPS, peer_port=444),
        replace(HTTPS, peer_port=40000, device_port=443),
        replace(HTTPS, protocol=17, initiated=None),
        replace(HTTPS, initiated=TO),
        replace(HTTPS, initiated=None),
        replace(HTTPS, family=Family.IPV6),
    ]
    check(made, HTTPS, bad)
    check(made, replace(HTTPS, direction=TO), [replace(packet, direction=TO) for packet in bad])
    assert made.dns_names == ("cloud.example",)
    # One direction says nothing about the other.
    assert not passes(acl([to_name()]), replace(HTTPS, direction=TO))


def ported(**port: Any) -> DeviceAcl:
    return acl([ace("a", tcp={"destination-port": port})])


@pytest.mark.parametrize(
    ("port", "inside", "outside"),
    [
        ({"port": 80}, [80], [79, 81, 0, 65535]),
        ({"operator": "eq", "port": 0}, [0], [1, 65535]),
        ({"operator": "neq", "port": 80}, [0, 79, 81, 65535], [80]),
        ({"operator": "neq", "port": 0}, [1, 65535], [0]),
        ({"operator": "neq", "port": 65535}, [0, 65534], [65535]),
        ({"operator": "lte", "port": 80}, [0, 79, 80], [81, 65535]),
        ({"operator": "gte", "port": 80}, [80, 81, 65535], [0, 79]),
        ({"lower-port": 80, "upper-port": 90}, [80, 85, 90], [79, 91]),
        ({"lower-port": 80, "upper-port": 80}, [80], [79, 81]),
        ({}, [0, 80, 65535], []),
        ({"operator": "gte", "port": 0}, [0, 65535], []),
        ({"operator": "lte", "port": 65535}, [0, 65535], []),
    ],
)
def test_ports(port: dict[str, Any], inside: list[int], outside: list[int]) -> None:
    made = ported(**port)
    for number in inside:
        assert passes(made, replace(HTTPS, peer_port=number))
    for number in outside:
        assert not passes(made, replace(HTTPS, peer_port=number))
    # A range that is written with the draft's operator means the same.
    if "lower-port" in port:
        draft = [ace("a", tcp={"destination-port": {**port, "operator": "range"}})]
        assert compile_acl(mud_file(draft, mode=Mode.LENIENT)) == made


def test_the_source_is_the_device_or_its_peer() -> None:
    entry = ace("a", udp={"source-port": eq(68), "destination-port": eq(67)})
    (outbound,), (inbound,) = acl([entry], [entry]).from_device, acl([entry], [entry]).to_device
    assert (outbound.device_ports, outbound.peer_ports) == (((68, 68),), ((67, 67),))
    assert (inbound.device_ports, inbound.peer_ports) == (((67, 67),), ((68, 68),))


@pytest.mark.parametrize(
    ("mud", "good", "bad"),
    [
        ({"local-networks": [None]}, {"local": True}, [{}, {"mud_url": URL}]),
        (
            {"controller": DNS_CLASS},
            {"classes": frozenset({DNS_CLASS, "x"})},
            [{"classes": frozenset({NTP_CLASS})}, {}],
        ),
        (
            {"my-controller": [None]},
            {"controls": frozenset({URL})},
            [{"controls": frozenset({OTHER_URL})}, {"mud_url": URL}],
        ),
        ({"model": OTHER_URL}, {"mud_url": OTHER_URL}, [{"mud_url": OTHER_URL + "x"}, {"mud_url": URL}, {}]),
        (
            {"manufacturer": "lamps.example"},
            {"mud_url": "https://LAMPS.example:443/l"},
            [
                {"mud_url": "https://lamps.example.evil.example/l"},
                {"mud_url": "https://x.lamps.example/l"},
                {"mud_url": "https://lamps.example:8443/l"},
                {"mud_url": URL},
                {},
            ],
        ),
        (
            {"same-manufacturer": [None]},
            {"mud_url": OTHER_URL},
            [{"mud_url": "https://other.example/lamp.json"}, {"local": True}, {}],
        ),
        # Two abstractions in one entry must both hold.
        (
            {"local-networks": [None], "same-manufacturer": [None]},
            {"local": True, "mud_url": OTHER_URL},
            [{"local": True}, {"mud_url": OTHER_URL}],
        ),
    ],
)
def test_abstractions(mud: dict[str, Any], good: dict[str, Any], bad: list[dict[str, Any]]) -> None:
    for made in (acl([ace("a", mud=dict(mud))]), acl([ace("a", udp={"destination-port": eq(53)}, mud=dict(mud))])):
        check(made, peer(**good), [peer(**facts) for facts in bad])


def test_networks() -> None:
    made = acl([ace("a", ipv4={"destination-ipv4-network": "192.0.2.0/25", "source-ipv4-network": "10.0.0.0/24"})])
    check(
        made,
        replace(HTTPS, peer=PeerFacts(ip_address("192.0.2.127"))),
        [
            replace(HTTPS, peer=PeerFacts(ip_address("192.0.2.128"))),
            replace(HTTPS, peer=PeerFacts(ip_address("10.0.0.1")), device_address=ip_address("192.0.2.1")),
            replace(HTTPS, device_address=ip_address("10.0.1.5")),
            replace(HTTPS, device_address=None),
            replace(HTTPS, peer=PeerFacts()),
        ],
    )
    assert [finding.code for finding in made.findings] == [Code.ADDRESS]
    # To the device, the source is the peer.
    made = acl([], [ace("a", ipv4={"source-ipv4-network": "192.0.2.0/25", "destination-ipv4-network": "10.0.0.0/24"})])
    good = replace(HTTPS, direction=TO, peer=PeerFacts(ip_address("192.0.2.127")))
    check(made, good, [replace(good, peer=PeerFacts(ip_address("10.0.0.1")), device_address=ip_address("192.0.2.1"))])
    everywhere = acl([ace("a", ipv4={"destination-ipv4-network": "0.0.0.0/0"})])
    assert everywhere.from_device == acl([ace("a", ipv4={})]).from_device
    multicast = acl([ace("a", ipv4={"destination-ipv4-network": "239.255.255.250/32"})])
    assert multicast.findings == ()


def test_ipv6() -> None:
    made = acl([ace("a", ipv6={"protocol": 17, "destination-ipv6-network": "2001:db8::/64"})], acl_type="ipv6-acl-type")
    good = Packet(FROM, Family.IPV6, PeerFacts(ip_address("2001:db8::1")), protocol=17, device_port=1, peer_port=2)
    check(
        made,
        good,
        [
            replace(good, peer=PeerFacts(ip_address("2001:db8:0:1::1"))),
            replace(good, protocol=6),
            replace(good, family=Family.IPV4),
            replace(good, peer=PeerFacts(ip_address("192.0.2.1"))),
        ],
    )


def test_icmp_has_its_number_in_each_family() -> None:
    entry = ace("a", icmp={"type": 8, "code": 0})
    (four,) = acl([entry]).from_device
    (six,) = acl([entry], acl_type="ipv6-acl-type").from_device
    assert (four.protocol, six.protocol) == (1, 58)
    ping = Packet(FROM, Family.IPV4, CLOUD, protocol=1, icmp_type=8, icmp_code=0)
    check(
        acl([entry]),
        ping,
        [
            replace(ping, icmp_type=0),
            replace(ping, icmp_code=1),
            replace(ping, protocol=58),
            replace(ping, protocol=17),
        ],
    )


def test_an_address_where_a_name_is_expected() -> None:
    made = acl([ace("a", ipv4={"ietf-acldns:dst-dnsname": "192.0.2.1"})])
    assert not any(isinstance(peer, DnsName) for rule in made.from_device for peer in rule.peers)
    check(
        made,
        replace(HTTPS, peer=PeerFacts(ip_address("192.0.2.1"))),
        [replace(HTTPS, peer=PeerFacts(ip_address("192.0.2.2"), names=frozenset({"192.0.2.1"})))],
    )
    six = acl([ace("a", ipv4={"ietf-acldns:dst-dnsname": "2001:db8::1"})])
    assert six.from_device == ()
    assert [finding.code for finding in six.findings] == [Code.CONTRADICTION]


FAMILIES = [
    ("ipv4-acl-type", {}, {Family.IPV4}),
    ("ipv6-acl-type", {}, {Family.IPV6}),
    ("mixed-eth-ipv4-acl-type", {}, {Family.IPV4}),
    ("mixed-eth-ipv4-ipv6-acl-type", {"tcp": {}}, {Family.IPV4, Family.IPV6}),
    (None, {"tcp": {}}, {Family.IPV4, Family.IPV6}),
    ("mixed-eth-ipv4-acl-type", {"eth": {"ethertype": "eap"}}, {Family.ETHERNET}),
    ("eth-acl-type", {"eth": {"ethertype": "arp"}}, {Family.ETHERNET}),
    ("eth-acl-type", {"eth": {"ethertype": "ipv4"}}, set()),
    ("eth-acl-type", {"eth": {}}, set()),
    ("eth-acl-type", {}, set()),
    ("mixed-eth-ipv4-acl-type", {"eth": {"ethertype": "ipv4"}, "ipv4": {}}, {Family.IPV4}),
    ("mixed-eth-ipv4-acl-type", {"eth": {"ethertype": "ipv6"}, "ipv4": {}}, set()),
]


@pytest.mark.parametrize(("acl_type", "matches", "families"), FAMILIES)
def test_families(acl_type: str | None, matches: dict[str, Any], families: set[Family]) -> None:
    made = acl([ace("a", **matches)], acl_type=acl_type)
    assert {rule.family for rule in made.from_device} == families
    assert bool(made.findings) == (not families)


NOT_UNDERSTOOD: list[tuple[dict[str, Any], Code]] = [
    ({"ipv4": {"dscp": 1}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"ecn": 1}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"length": 100}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"ttl": 0}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"ihl": 5}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"flags": ""}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"flags": "fragment"}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"offset": 20}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"identification": 0}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"ietf-acldns:src-dnsname": "me.example"}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"sequence-number": 0}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"acknowledgement-number": 0}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"data-offset": 5}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"reserved": 0}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"flags": "syn"}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"window-size": 0}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"urgent-pointer": 0}}, Code.UNSUPPORTED_MATCH),
    ({"tcp": {"options": "AQ=="}}, Code.UNSUPPORTED_MATCH),
    ({"udp": {"length": 8}}, Code.UNSUPPORTED_MATCH),
    ({"icmp": {"rest-of-header": "AA=="}}, Code.UNSUPPORTED_MATCH),
    ({"ipv4": {"protocol": 17}, "tcp": {}}, Code.CONTRADICTION),
    ({"ipv4": {"protocol": 6}, "icmp": {}}, Code.CONTRADICTION),
]
MIXED_NOT_UNDERSTOOD: list[tuple[dict[str, Any], Code]] = [
    ({"eth": {"ethertype": 6}}, Code.UNSUPPORTED_MATCH),
    ({"eth": {"ethertype": "pppoe-session"}}, Code.UNSUPPORTED_MATCH),
    ({"eth": {"ethertype": "arp"}, "tcp": {}}, Code.CONTRADICTION),
    ({"eth": {"ethertype": "arp"}, "mud": {"my-controller": [None]}}, Code.UNSUPPORTED_MATCH),
    ({"eth": {"ethertype": "arp", "source-mac-address": "02:00:00:00:00:01"}}, Code.UNSUPPORTED_MATCH),
    ({"eth": {"ethertype": "arp", "destination-mac-address-mask": "02:00:00:00:00:01"}}, Code.UNSUPPORTED_MATCH),
    ({"ipv6": {"protocol": 0}}, Code.CONTRADICTION),
    ({"ipv6": {"protocol": 1}, "icmp": {}}, Code.CONTRADICTION),
    ({"ipv6": {"flow-label": 0}}, Code.UNSUPPORTED_MATCH),
]
ALL_NOT_UNDERSTOOD = [("ipv4-acl-type", *case) for case in NOT_UNDERSTOOD] + [
    ("mixed-eth-ipv4-ipv6-acl-type", *case) for case in MIXED_NOT_UNDERSTOOD
]


@pytest.mark.parametrize(("acl_type", "matches", "code"), ALL_NOT_UNDERSTOOD)
def test_what_is_not_understood_permits_nothing(acl_type: str, matches: dict[str, Any], code: Code) -> None:
    made = acl([ace("a", **dict(matches))], acl_type=acl_type)
    assert made.from_device == ()
    assert [finding.code for finding in made.findings] == [code]
    assert "'a', from-device: skipped" in made.findings[0].text


@pytest.mark.parametrize(
    ("acl_type", "matches"),
    [(acl_type, matches) for acl_type, matches, code in ALL_NOT_UNDERSTOOD if code is Code.UNSUPPORTED_MATCH],
)
def test_a_drop_that_is_not_understood_drops_more(acl_type: str, matches: dict[str, Any]) -> None:
    """If it were skipped, the entry after it would permit what the file forbids."""
    headers = {name for name in matches if name in ("ipv4", "ipv6", "eth", "tcp", "udp", "icmp")}
    everything = [ace("all", **{name: {} for name in headers - {"eth"}})]
    if "eth" in headers:
        everything = [ace("all", eth={"ethertype": "arp"})]
    assert acl(everything, acl_type=acl_type).from_device
    made = acl([ace("a", action="drop", **dict(matches)), *everything], acl_type=acl_type)
    assert Code.WIDENED_DROP in {finding.code for finding in made.findings}
    accept = made.from_device[-1]
    drops = [rule for rule in made.from_device if rule.action is Action.DROP]
    assert accept.action is Action.ACCEPT
    assert any(
        drop.family is accept.family and drop.peers == () and drop.protocol in (None, accept.protocol) for drop in drops
    )


def test_an_invalid_drop_drops_everything_that_follows() -> None:
    entries = [to_name(), ace("broken", action="drop", ipv4={"protocol": 999}), to_name("other.example")]
    data = document(entries)
    made = compile_acl(parse_mud(octets(data), Mode.LENIENT))
    assert passes(made, HTTPS)
    assert not passes(made, replace(HTTPS, peer=replace(CLOUD, names=frozenset({"other.example"}))))
    # An action of an unknown kind, and none at all, count as drop.
    for action in ("vendor:mirror", None, 5):
        data[ACLS]["acl"][0]["aces"]["ace"][1]["actions"] = {"forwarding": action}
        assert compile_acl(parse_mud(octets(data), Mode.LENIENT)).from_device == made.from_device
    # An invalid entry that accepts is nothing.
    data[ACLS]["acl"][0]["aces"]["ace"][1]["actions"] = {"forwarding": "accept"}
    made = compile_acl(parse_mud(octets(data), Mode.LENIENT))
    assert passes(made, replace(HTTPS, peer=replace(CLOUD, names=frozenset({"other.example"}))))
    assert len(made.from_device) == 2


def test_the_first_rule_that_matches_decides() -> None:
    drop = ace("no", action="drop", tcp={"destination-port": eq(443)})
    assert not passes(acl([drop, to_name()]), HTTPS)
    assert passes(acl([to_name(), drop]), HTTPS)
    decision = decide(acl([drop, to_name()]), HTTPS)
    assert decision.rule is not None
    assert (decision.rule.entry, decision.action) == ("no", Action.DROP)
    rejected = acl([ace("no", action="reject", tcp={}), to_name()])
    assert not passes(rejected, HTTPS)
    assert [finding.code for finding in rejected.findings] == [Code.REJECT_AS_DROP]


def test_acls_apply_in_the_order_of_the_policy() -> None:
    data = document([to_name()])
    data[ACLS]["acl"].insert(
        0, {"name": "no", "type": "ipv4-acl-type", "aces": {"ace": [ace("no", action="drop", tcp={})]}}
    )
    listed = data["ietf-mud:mud"]["from-device-policy"]["access-lists"]["access-list"]
    listed.append({"name": "no"})
    assert passes(compile_acl(parse_mud(octets(data))), HTTPS)
    listed.reverse()
    assert not passes(compile_acl(parse_mud(octets(data))), HTTPS)


def test_a_drop_without_headers_drops_frames_too() -> None:
    entries = [ace("no", action="drop"), ace("arp", eth={"ethertype": "arp"})]
    made = acl(entries, acl_type="mixed-eth-ipv4-acl-type")
    assert not passes(made, Packet(FROM, Family.ETHERNET, PeerFacts(), ethertype=0x0806))
    assert passes(
        acl(entries[1:], acl_type="eth-acl-type"), Packet(FROM, Family.ETHERNET, PeerFacts(), ethertype=0x0806)
    )
    assert not passes(
        acl(entries[1:], acl_type="eth-acl-type"), Packet(FROM, Family.ETHERNET, PeerFacts(), ethertype=0x888E)
    )


def test_mac_addresses_of_the_peer() -> None:
    entry = ace(
        "a",
        eth={"destination-mac-address": "33:33:00:00:00:00", "destination-mac-address-mask": "ff:ff:00:00:00:00"},
        ipv6={},
    )
    made = acl([entry], acl_type="mixed-eth-ipv6-acl-type")
    good = Packet(FROM, Family.IPV6, PeerFacts(ip_address("ff02::1"), mac=0x333300000001))
    check(made, good, [replace(good, peer=replace(good.peer, mac=0x333400000001))])


def test_remarks() -> None:
    classes = [
        ace(uri, mud={"controller": uri}) for uri in (DNS_CLASS, "urn:ietf:params:mud:gateway", "https://a.example/c")
    ]
    made = acl(classes)
    assert [(finding.code, "gateway" in finding.text) for finding in made.findings] == [(Code.CONTROLLER_CLASS, True)]
    assert len(made.from_device) == 3
    # The controllers are those of devices with this URL, and the manufacturer is the URL's authority.
    (same,) = acl([ace("a", mud={"same-manufacturer": [None]})], mud_url="https://Maker.Example:8443/x").from_device
    assert same.peers == (Manufacturer("maker.example:8443"),)


def test_rules_are_equal_by_meaning() -> None:
    one, two = acl([ace("a", tcp={})]).from_device[0], acl([ace("b", tcp={})]).from_device[0]
    assert (one.entry, two.entry, one.acl) == ("a", "b", "from-it")
    assert one == two
    assert len({one, two, replace(one, protocol=17)}) == 2
    assert Rule(FROM, Family.IPV4, Action.ACCEPT) != Rule(TO, Family.IPV4, Action.ACCEPT)

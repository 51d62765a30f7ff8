"""Create the corpus: valid inputs, and hostile ones of the unit tests. Run `python -m tests.fuzz.make_corpus`."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path

from tests.conformance.cases import CASES
from tests.conformance.world import build, ca, dns, ip, leaf
from tests.fuzz.engine import CORPUS
from tests.fuzz.targets import DNS_NAME, NOW, SIGNED
from tests.harness.tls_session import TLS_1_2, TLS_1_3, server_session
from tests.unit.dane_radius import test_anchors, test_certificate, test_dns_wire, test_names, test_session_file
from tests.unit.mud import builders as mud_builders
from tests.unit.mud import test_tls_profile
from tests.unit.mud.builders import PUBLISHED
from tests.unit.policy import test_loader


def _write(target: str, inputs: list[tuple[str, bytes]]) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for label, octets in inputs:
        (folder / label).write_bytes(octets)
    print(f"{target}: {len(inputs)} inputs")


def _numbered(prefix: str, inputs: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"{prefix}-{number:02}", octets) for number, octets in enumerate(inputs)]


def main() -> None:
    """Write the inputs of each target. The keys are new each time. Inputs that the fuzzer found are kept."""
    from tests.conformance import world

    days = (NOW - world.NOW) / timedelta(days=1)
    made = build(
        (
            ca("root", start=days - 10, end=days + 4000, permitted=(dns("example.net"),)),
            leaf(start=days - 10, end=days + 4000, names=(DNS_NAME,), usages=("digital_signature",)),
            leaf(role="rich", names=(DNS_NAME, "b.example.net"), more_names=(ip("192.0.2.1"),)),
            leaf(role="ed25519", key="ed25519", names=(DNS_NAME,)),
            leaf(role="rsa", key="rsa2048", names=(DNS_NAME,)),
        )
    )
    certificates = [identity.der for identity in made.values()]
    _write(
        "chain", [("00-root", made["root"].der), ("01-leaf", made["leaf"].der), *_numbered("more", certificates[2:])]
    )
    hostile = [test_certificate.with_raw_san(b"good.example.net\0.evil.example"), test_certificate.rebuilt(
        [*test_certificate.FIELDS[:7], test_certificate.ONE, test_certificate.ONE])]  # fmt: skip
    _write("certificate", _numbered("cert", [*certificates[1:], *hostile]))
    with tempfile.TemporaryDirectory() as folder:
        real = [server_session(Path(folder), made["rich"], made["leaf"], version) for version in (TLS_1_2, TLS_1_3)]
    by_hand = [
        test_session_file.session(made["leaf"].der),
        test_session_file.session(),
        test_session_file.session(b"", b""),
    ]
    _write("session", _numbered("session", [*real, *by_hand]))
    wire = test_dns_wire
    _write("dns", _numbered("message", [
        *wire.SAMPLES, wire.message([wire.tlsa()] * 3, tail=b"\0"), wire.message([wire.tlsa(data=b"\3")]),
        wire.message([wire.rr(DNS_NAME, wire.DNAME, 5, wire.wire("d.example")), wire.cname(DNS_NAME, "a.d.example")]),
        wire.message([wire.tlsa(data=b"\2\0\0" + made["root"].der)]),
    ]))  # fmt: skip
    names = [
        b"a1.camera._device.example.net", b"A1.Example.NET.", b"xn--bcher-kva.example", b"192.0.2.1", b"*.a.example",
        b"a\0b.example", test_names.LONGEST.encode(), b"a.xn--p1ai", b"_mqtt.a1.example.net",
    ]  # fmt: skip
    _write("name", _numbered("name", names))
    forms = {" ".join(case.records.split("; ")[0].split()[:3]) for case in CASES}
    _write("record", _numbered("record", [f"{form} {'ab' * 32}".encode() for form in sorted(forms)]))
    policies = [
        test_loader.FULL,
        "version: 1\nrules: []\n",
        "a: &a [x]\nb: [*a, *a]\n",
        "version: !!int 1\nrules: [{<<: {}}]\n",
    ]
    _write("policy", _numbered("policy", [text.encode() for text in policies]))
    one, two = test_anchors.ONE, test_anchors.TWO
    journals = [
        test_anchors.HEADER + test_anchors.add(one) + test_anchors.remove(one),
        test_anchors.add(two, "example.org"),
    ]
    _write("index", _numbered("index", [text.encode().rstrip() for text in journals]))
    requests: list[dict[str, object]] = [
        {"v": 1, "op": "status"},
        {"v": 1, "op": "flush"},
        {"v": 2},
        {"v": 1, "op": "x"},
        {"v": 1, "op": "flush", "name": DNS_NAME, "below": True},
        {"v": 1, "op": "flush", "name": "\ud800"},
    ]
    _write("control", _numbered("request", [json.dumps(request).encode() for request in requests]))
    _write("mud", _numbered("file", _mud_files()))
    signature = (SIGNED / "Luminaire_150.p7s").read_bytes()
    _write("mud_signature", _numbered("message", [signature, signature[:200]]))


def _mud_files() -> list[bytes]:
    """Small files of each kind. The fuzzer damages at most 8 kB."""
    names = (
        "nist/mud-local-and-same-mfg-test*", "nist/mud-model-test*", "nist/mud-controllerclass-test*",
        "samples/mudmaker_my-controller*", "samples/osmud_ieft-draft*", "unsw/blipcareBPmeter*", "unsw/withingssleep*",
    )  # fmt: skip
    published = [next(PUBLISHED.glob(name)).read_bytes() for name in names]
    drops = mud_builders.document(
        [
            mud_builders.ace("no", action="drop", tcp={"destination-port": {"operator": "neq", "port": 443}}),
            mud_builders.ace("arp", eth={"ethertype": "arp", "source-mac-address": "02:00:00:00:00:01"}),
            test_tls_profile.entry(test_tls_profile.PROFILE),
        ],
        [mud_builders.ace("a", ipv6={"source-ipv6-network": "2001:db8::/32"}, udp={"destination-port": {"port": 1}})],
        acl_type="mixed-eth-ipv4-ipv6-acl-type",
        extensions=["vendor"],
        systeminfo="A camera",
        **{"vendor:x": [1]},
    )
    return [*published, mud_builders.octets(drops)]


if __name__ == "__main__":
    main()

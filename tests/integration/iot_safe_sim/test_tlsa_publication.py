"""Enrollment ends when the TLSA record is served and validated, and not before."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    Enrollment,
    EnrollmentError,
    Outcome,
    Resolver,
    TlsaState,
    TlsaWait,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound
from tests.harness.zones import tampered_zone
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import command, identity_faults, tlsa_of


def test_waits_until_the_record_is_served_and_validated(
    est: EstServer, soft: IoTSafeClient, dns: tuple[Knot, Unbound]
) -> None:
    knot, unbound = dns
    name = "waits.camera._device.example.net"
    seen: list[TlsaState] = []

    def progress(state: TlsaState, seconds: float) -> None:
        seen.append(state)
        if state is TlsaState.ABSENT:
            knot.add_tlsa("example.net", name, "3 1 1 " + "00" * 32, ttl=0)
        if state is TlsaState.OTHER_RECORDS:
            knot.add_tlsa("example.net", name, tlsa_of(est.issued[-1]), ttl=0)

    wait = TlsaWait(Resolver("127.0.0.1", unbound.port), 30, progress)
    result = Enrollment(soft, wait).enroll(est.bundle(name))
    assert result.tlsa is TlsaState.VOUCHED
    assert seen == [TlsaState.ABSENT, TlsaState.OTHER_RECORDS, TlsaState.VOUCHED]


def test_does_not_take_an_insecure_or_missing_answer(est: EstServer, tmp_path: Path, dns: tuple[Knot, Unbound]) -> None:
    knot, unbound = dns
    name = "insecure.camera._device.plain.net"
    est.published = lambda certificate: knot.add_tlsa("plain.net", name, tlsa_of(certificate), ttl=0)
    options = ("--resolver", f"127.0.0.1:{unbound.port}", "--dns-timeout", "0.5", "--key-store", "software")
    done = command("enroll", "--state", tmp_path / "a", "--bundle", est.bundle(name).encode(), "--json", *options)
    assert done.returncode == 1
    assert json.loads(done.stdout)["tlsa"] == "insecure"
    assert json.loads(done.stdout)["outcome"] == "enrolled"
    assert "no AD bit" in done.stderr
    est.published = lambda certificate: None
    absent = est.bundle("absent.camera._device.example.net")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "absent")
    # The authoritative server responds, but it does not validate.
    options = ("--resolver", f"127.0.0.1:{knot.port}", "--dns-timeout", "0.5")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "insecure")
    options = ("--resolver", "127.0.0.1:1", "--dns-timeout", "0.5")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "unavailable")
    assert json.loads(done.stdout)["outcome"] == "already-enrolled"


@pytest.mark.parametrize("which", ["nobody", "authoritative", "unsigned"])
def test_a_useless_resolver_is_named_at_once_and_not_waited_for(
    est: EstServer, tmp_path: Path, dns: tuple[Knot, Unbound], which: str
) -> None:
    """The fault is reported first, the certificate is issued all the same, and `enroll` does not wait for 120 s."""
    knot, unbound = dns
    port = {"nobody": 1, "authoritative": knot.port, "unsigned": unbound.port}[which]
    name = f"{which}.camera._device.{'plain' if which == 'unsigned' else 'example'}.net"
    arguments = ("enroll", "--state", tmp_path / "card", "--key-store", "software", "--json")
    resolver = ("--resolver", f"127.0.0.1:{port}")
    begun = time.monotonic()
    done = command(*arguments, "--bundle", est.bundle(name).encode(), *resolver)
    assert time.monotonic() - begun < 30
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"dns          the resolver 127.0.0.1:{port} "), done.stderr
    assert ("does not answer (Connection refused)" if which == "nobody" else "without validation (no AD bit)") in first
    assert "--resolver" in first
    assert "--no-wait-dns" in first
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"]) == (1, "enrolled")
    assert result["tlsa"] == ("unavailable" if which == "nobody" else "insecure")
    # The fault is reported once for a fleet, and for a renewal too.
    bundles = tmp_path / "bundles"
    bundles.write_text("".join(est.bundle(f"{n}.{name}").encode() + "\n" for n in range(3)))
    fleet = command("enroll", "--state", tmp_path / "fleet", "--key-store", "software", "--bundles", bundles, *resolver)
    assert fleet.returncode == 1
    assert fleet.stderr.count("the resolver 127.0.0.1") == 1
    renewed = command(*arguments, "--renew", *resolver)
    assert renewed.stderr.splitlines()[0] == first
    assert json.loads(renewed.stdout)["outcome"] == "renewed"


def test_the_check_of_the_resolver_leaves_no_trace_of_the_device_there(
    est: EstServer, dns: tuple[Knot, Unbound]
) -> None:
    """A query for the device's own record, before the record exists, would make the resolver cache its absence."""
    _knot, unbound = dns
    name = "unasked.camera._device.example.net"
    assert Resolver("127.0.0.1", unbound.port).fault(name) is None
    cached = unbound.control("dump_cache")
    assert "unasked" not in cached
    assert "example.net" in cached


def test_does_not_take_a_bogus_answer(
    est: EstServer, soft: IoTSafeClient, tmp_path: Path, dns: tuple[Knot, Unbound]
) -> None:
    """The right record, in a zone that does not validate because the resolver has another trust anchor."""
    knot, unbound = dns
    name = "bogus.camera._device.example.net"
    est.published = lambda certificate: knot.add_tlsa("example.net", name, tlsa_of(certificate), ttl=0)
    foreign = knot.trust_anchors("example.net").replace(" 257 3 13 ", " 257 3 13 AAAA", 1)
    with Unbound(tmp_path / "unbound", {"example.net": ("127.0.0.1", knot.port)}, foreign) as resolver:
        seen: list[TlsaState] = []
        wait = TlsaWait(Resolver("127.0.0.1", resolver.port), 1, lambda state, seconds: seen.append(state))
        result = Enrollment(soft, wait).enroll(est.bundle(name))
    assert (result.outcome, result.tlsa, set(seen)) == (Outcome.ENROLLED, TlsaState.BOGUS, {TlsaState.BOGUS})
    # The record itself was right: a resolver that validates the zone finds it.
    assert Resolver("127.0.0.1", unbound.port).query_tlsa(name, est.issued[-1], []) is TlsaState.VOUCHED


def test_records_changed_on_the_way_are_bogus(tmp_path: Path) -> None:
    device = authority("CA").issue("device.broken.example").certificate
    record = f"device TLSA {tlsa_of(device)}"
    # After signing, the record is changed to the one that the device expects.
    wrong = record[:-2] + f"{int(record[-2:], 16) ^ 1:02x}"
    text, anchor = tampered_zone(tmp_path / "zone", "broken.example", wrong)
    served = re.sub(r"(TLSA\s+3 1 1 )[0-9a-f]{64}", lambda match: match[1] + record[-64:], text)
    zone = Zone("broken.example", signed=False, verbatim=served)
    with (
        Knot(tmp_path / "knot", [zone]) as knot,
        Unbound(tmp_path / "unbound", {"broken.example": ("127.0.0.1", knot.port)}, anchor) as resolver,
    ):
        asked = Resolver("127.0.0.1", resolver.port)
        assert asked.query_tlsa("device.broken.example", device, []) is TlsaState.BOGUS
        # The rest of the zone validates: another name in it is proven absent.
        assert asked.query_tlsa("other.broken.example", device, []) is TlsaState.ABSENT
    assert asked.query_tlsa("device.broken.example", device, []) is TlsaState.UNAVAILABLE


def test_a_new_key_is_used_only_when_the_dns_vouches_for_it(
    est: EstServer, client: IoTSafeClient, card: Card, dns: tuple[Knot, Unbound]
) -> None:
    knot, unbound = dns
    name = "newkey.camera._device.example.net"
    wait = TlsaWait(Resolver("127.0.0.1", unbound.port), 1.5)
    Enrollment(client).enroll(est.bundle(name))
    old, old_certificate = client.public_key(containers.DEVICE_KEY), client.read_file(containers.CLIENT_CERTIFICATE)
    with pytest.raises(EnrollmentError, match="does not vouch for the new key"):
        Enrollment(client, wait).renew(new_key=True)
    assert client.public_key(containers.DEVICE_KEY) == old
    assert client.read_file(containers.CLIENT_CERTIFICATE) == old_certificate
    knot.add_tlsa("example.net", name, tlsa_of(est.issued[-1]), ttl=0)
    result = Enrollment(client, TlsaWait(Resolver("127.0.0.1", unbound.port), 10)).renew(new_key=True)
    assert result.tlsa is TlsaState.VOUCHED
    assert est.count("simplereenroll") == 1, "the certificate of the first try was taken up"
    assert client.public_key(containers.DEVICE_KEY) != old
    assert identity_faults(client, name) == []
    assert len(card.keys.handles()) == 1

"""A fleet of devices from a file with bundles."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_safe_sim.card import Card
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import command, identity_faults


def test_one_bad_bundle_does_not_stop_the_fleet(est: EstServer, tmp_path: Path) -> None:
    names = [f"f{number}.sensor._device.example.net" for number in range(12)]
    lines = [est.bundle(name).encode() for name in names]
    lines[3] = json.dumps({"name": names[3], "bundle": lines[3]})
    lines[7] = "iotreg1.garbage"
    (tmp_path / "bundles").write_text("\n".join(lines) + "\n\n")
    arguments = ("enroll", "--state", tmp_path / "fleet", "--bundles", tmp_path / "bundles", "--no-wait-dns")
    done = command(*arguments, "--key-store", "software", "--count", "5")
    assert (done.returncode, done.stdout.strip()) == (0, "5 of 5 devices enrolled")
    done = command(*arguments, "--key-store", "software", "--json")
    assert done.returncode == 1
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 12
    failed = [result for result in results if result["error"]]
    assert [(result["line"], "enrollment bundle" in result["error"]) for result in failed] == [(8, True)]
    outcomes = sorted(result["outcome"] for result in results if not result["error"])
    assert outcomes == ["already-enrolled"] * 5 + ["enrolled"] * 6
    for number in (0, 3, 11):
        with Card(tmp_path / "fleet" / names[number]) as card:
            assert identity_faults(IoTSafeClient(MemoryTransport(card.applet)), names[number]) == []
    keys = {
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for certificate in est.issued
    }
    assert len(keys) == 11


def test_a_fleet_with_softhsm_tokens(est: EstServer, tmp_path: Path) -> None:
    names = [f"t{number}.sensor._device.example.net" for number in range(3)]
    (tmp_path / "bundles").write_text("\n".join(est.bundle(name).encode() for name in names))
    done = command("enroll", "--state", tmp_path / "fleet", "--bundles", tmp_path / "bundles", "--no-wait-dns")
    assert (done.returncode, done.stdout.strip()) == (0, "3 of 3 devices enrolled"), done.stderr

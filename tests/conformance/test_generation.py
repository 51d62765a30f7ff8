"""The records that this project makes, beside those that GnuTLS (danetool) and NLnet Labs' ldns-dane make."""

from __future__ import annotations

from pathlib import Path

import pytest

from dane_radius.core.certificate import parse_leaf
from dane_radius.core.tlsa import TlsaRecord, association
from tests.conformance.world import build, ca, leaf
from tests.harness.pki import Identity
from tests.harness.process import run

OWNER = "a1.camera._device.example.net"
KEYS = ("p256", "p384", "ed25519", "rsa2048")


@pytest.fixture(scope="module", params=KEYS)
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Path]:
    """A device certificate and its PEM file."""
    identity = build((ca("root", end=4000), leaf(key=str(request.param), end=4000)))["leaf"]
    return identity, identity.save(tmp_path_factory.mktemp("generation"), "leaf")[0]


def ours(identity: Identity, usage: int, selector: int, matching: int) -> TlsaRecord:
    data = association(identity.der, parse_leaf(identity.der).spki, selector, matching)
    return TlsaRecord(usage, selector, matching, data)


@pytest.mark.parametrize("matching", [1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", range(4))
def test_danetool_makes_the_same(device: tuple[Identity, Path], usage: int, selector: int, matching: int) -> None:
    identity, pem = device
    command = ["danetool", "--tlsa-rr", "--host", OWNER, "--load-certificate", str(pem)]
    command += ["--hash", {1: "SHA256", 2: "SHA512"}[matching]]
    command += ["--x509"] * (selector == 0) + ["--ca"] * (usage in (0, 2)) + ["--no-domain"] * (usage in (0, 1))
    line = run(command)
    numbers = line.partition("(")[2].partition(")")[0].split()
    theirs = TlsaRecord(*(int(number, 16) for number in numbers[:3]), bytes.fromhex(numbers[3]))
    assert theirs == ours(identity, usage, selector, matching)


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [1, 3])
def test_ldns_dane_makes_the_same(device: tuple[Identity, Path], usage: int, selector: int, matching: int) -> None:
    identity, pem = device
    # -n: it would look for the name without the port labels; -s: it has no anchors to validate a path with.
    command = [
        "ldns-dane",
        "-n",
        "-s",
        "-c",
        str(pem),
        "create",
        OWNER,
        "443",
        str(usage),
        str(selector),
        str(matching),
    ]
    line = run(command)
    theirs = TlsaRecord.from_text(line.partition("TLSA")[2])
    assert theirs == ours(identity, usage, selector, matching)

"""Enrollment and renewal interrupted before every single command to the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    Enrollment,
    HttpsError,
    read_certificate,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import Interrupted, Unreliable, identity_faults


def test_interrupted_before_every_single_command(est: EstServer, tmp_path: Path) -> None:
    """After any interruption, the next run ends with one whole identity, one key, and one used token."""
    limit, finished = 0, False
    while not finished:
        name = f"d{limit}.camera._device.example.net"
        bundle = est.bundle(name)
        with Card(tmp_path / str(limit), key_store="software") as card:
            try:
                Enrollment(IoTSafeClient(Unreliable(card, limit))).enroll(bundle)
                finished = True
            except Interrupted:
                pass
        with Card(tmp_path / str(limit)) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            Enrollment(client).enroll(bundle)
            assert identity_faults(client, name) == []
            assert card.keys.handles() == {card.applet.store.private_keys[containers.DEVICE_KEY].handle}
            assert client.read_file(containers.PENDING_CERTIFICATE) == b""
        limit += 1
    print(f"{limit} places")
    assert limit > 25


@pytest.mark.parametrize("new_key", [False, True])
def test_a_renewal_interrupted_before_every_single_command(est: EstServer, tmp_path: Path, new_key: bool) -> None:
    """The issuing CA has a successor, so certificate and CA change together."""
    limit, finished = 0, False
    while not finished:
        name, folder = f"r{limit}.camera._device.example.net", tmp_path / str(limit)
        with Card(folder, key_store="software") as card:
            Enrollment(IoTSafeClient(MemoryTransport(card.applet))).enroll(est.bundle(name))
            est.new_issuing_ca()
            unreliable = Unreliable(card, limit)
            try:
                Enrollment(IoTSafeClient(unreliable)).renew(new_key=new_key)
                finished = True
            except (Interrupted, HttpsError):
                # A power failure while the card signs for TLS appears as a failed handshake.
                assert unreliable.left < 0
        with Card(folder) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            Enrollment(client).renew(new_key=new_key)
            assert identity_faults(client, name) == []
            certificate = read_certificate(client)
            assert certificate is not None
            assert certificate.issuer == est.issuing.certificate.subject
            assert card.keys.handles() == {card.applet.store.private_keys[containers.DEVICE_KEY].handle}
            assert client.read_file(containers.PENDING_CERTIFICATE) == b""
        limit += 1
    print(f"{limit} places")
    assert limit > 20

"""A server that refuses a device after the decision: a second line in the log corrects the accept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound
from tests.integration.dane_radius.conftest import POLICY, ZONE

pytestmark = pytest.mark.daemons

NOT_SENT = "dane_radius_accepts_not_sent_total"


@pytest.fixture(scope="module")
def late_ca() -> Authority:
    return authority("Late CA")


@pytest.fixture(scope="module")
def server(folder: Path, dns: tuple[Knot, Unbound], late_ca: Authority) -> Iterator[FreeRadius]:
    """A server whose operator refuses devices of one NAS in `post-auth`, where it is too late."""
    radius = FreeRadius(folder / "not-sent", dns[1].port, POLICY, [late_ca])
    radius.prepare()
    site = radius.raddb / "sites-available" / "dane"
    text = site.read_text()
    assert text.count("\tpost-auth {\n") == 1
    refusal = '\t\tif (&NAS-Identifier == "late") {\n\t\t\treject\n\t\t}\n'
    site.write_text(text.replace("\tpost-auth {\n", f"\tpost-auth {{\n{refusal}"))
    with radius:
        yield radius


def _authenticate(server: FreeRadius, device: Identity, nas: str) -> tuple[bool, dict[str, Any]]:
    peer = write_peer_config(
        server.folder / "peers", device, identity="anonymous@iot.example", server_ca=server.server_ca_file
    )
    result = authenticate(server, peer, nas=nas)
    return result.accepted, server.decision_for(result.station)


def _corrections(server: FreeRadius) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.decision_log.read_text().splitlines()]
    return [line for line in lines if line["event"].startswith("accept not sent")]


def test_an_accept_that_is_not_sent_is_corrected(
    server: FreeRadius, dns: tuple[Knot, Unbound], late_ca: Authority
) -> None:
    device = late_ca.issue("late.camera._device.iot.example")
    dns[0].add_tlsa(ZONE, "late.camera._device.iot.example", str(device.tlsa()), 3600)
    accepted, decision = _authenticate(server, device, "late")
    assert (accepted, decision["verdict"]) == (False, "accept")
    wait_for(lambda: _corrections(server), "the line that corrects it", 5)
    [line] = _corrections(server)
    assert (line["level"], line["nas"], line["station"]) == ("error", "late", decision["station"])
    assert server.metric(NOT_SENT) == 1


def test_other_outcomes_need_no_correction(server: FreeRadius, dns: tuple[Knot, Unbound], late_ca: Authority) -> None:
    before = len(_corrections(server))
    device = late_ca.issue("early.camera._device.iot.example")
    accepted, decision = _authenticate(server, device, "early")
    assert (accepted, decision["reason"]) == (False, "tlsa_absent")
    accepted, decision = _authenticate(server, device, "late")
    assert (accepted, decision["reason"]) == (False, "tlsa_absent")
    known = late_ca.issue("known.camera._device.iot.example")
    dns[0].add_tlsa(ZONE, "known.camera._device.iot.example", str(known.tlsa()), 3600)
    accepted, decision = _authenticate(server, known, "early")
    assert (accepted, decision["verdict"]) == (True, "accept")
    # A correction after all of them: theirs would stand before it.
    accepted, decision = _authenticate(server, known, "late")
    wait_for(lambda: len(_corrections(server)) > before, "the last one's correction", 5)
    assert [line["station"] for line in _corrections(server)[before:]] == [decision["station"]]

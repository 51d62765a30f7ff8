"""Renewal with the current certificate, authenticated by the card in TLS."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    Enrollment,
    EnrollmentError,
    Outcome,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import NAME, identity_faults


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_renewal_proves_the_key_in_tls(tmp_path: Path, client: IoTSafeClient, card: Card, tls: ssl.TLSVersion) -> None:
    with EstServer(tmp_path / "est", tls_maximum=tls) as est:
        Enrollment(client).enroll(est.bundle(NAME))
        before, handles = client.read_file(containers.CLIENT_CERTIFICATE), card.keys.handles()
        result = Enrollment(client).renew()
        assert result.outcome is Outcome.RENEWED
        request = est.requests[-1]
        assert request.authorization is None
        assert request.client_certificate == f"(('DNS', '{NAME}'),)"
        assert request.tls == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[tls]
        assert identity_faults(client) == []
        assert client.read_file(containers.CLIENT_CERTIFICATE) != before
        assert card.keys.handles() == handles


def test_renewal_only_when_due(est: EstServer, soft: IoTSafeClient) -> None:
    Enrollment(soft).enroll(est.bundle(NAME))
    assert Enrollment(soft).renew(within=timedelta(days=5)).outcome is Outcome.NOT_DUE
    assert est.count("simplereenroll") == 0
    assert Enrollment(soft).renew(within=timedelta(days=31)).outcome is Outcome.RENEWED
    later = datetime.now(UTC) + timedelta(days=40)
    with pytest.raises(EnrollmentError, match=r"expired.*enroll with a new bundle"):
        Enrollment(soft, now=lambda: later).renew()

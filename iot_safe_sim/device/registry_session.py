"""The registry as one run of enrollment sees it: its EST service, its CAs, and checked provisioning data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from iot_safe_sim.device.est import EstClient
from iot_safe_sim.device.https import HttpsClient
from iot_safe_sim.device.provisioning import Provisioning, ProvisioningError
from iot_safe_sim.device.registry_settings import RegistrySettings

#: Called for each step, with its name and what it did.
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class RegistrySession:
    """`authorities` are the CA certificates of the EST service (cacerts), among them the issuing CA."""

    est: EstClient
    provisioning: Provisioning
    authorities: list[x509.Certificate]

    @classmethod
    def open(
        cls, settings: RegistrySettings, now: datetime, progress: Progress, *, http_timeout: float, patience: float
    ) -> RegistrySession:
        """Fetch CAs and provisioning data, and check them. Raises HttpsError and ProvisioningError."""
        https = HttpsClient(settings.anchors(), http_timeout)
        est = EstClient(
            settings.est,
            https,
            patience,
            waiting=lambda seconds: progress("certificate", f"accepted; asking again in {seconds:g} s"),
            broken=lambda seconds: progress("certificate", f"connection lost; asking again in {seconds:g} s"),
        )
        authorities = est.ca_certificates()
        provisioning = Provisioning.parse(https.request("GET", settings.provisioning).body)
        provisioning.check(now)
        if provisioning.issuing_ca not in authorities:
            raise ProvisioningError("issuing_ca: not among the CA certificates of the EST server (cacerts)")
        progress("registry", f"CA {provisioning.issuing_ca.subject.rfc4514_string()}")
        return cls(est, provisioning, authorities)

"""Enrolling a device and renewing its certificate. What is on the card decides which steps are left to do.

There is no journal. Each step leaves its result on the card before the next one starts, and a run begins by reading the
card. So a run that was interrupted anywhere is started again, and a second run changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509

from iot_safe_sim.device.bundle import Bundle
from iot_safe_sim.device.card_contents import CardContents
from iot_safe_sim.device.certificate import dns_name
from iot_safe_sim.device.certification_request import build_request
from iot_safe_sim.device.provisioning import Provisioning
from iot_safe_sim.device.registry_session import Progress, RegistrySession
from iot_safe_sim.device.registry_settings import RegistrySettings
from iot_safe_sim.device.tlsa import TlsaState
from iot_safe_sim.device.tlsa_wait import TlsaWait
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient


class EnrollmentError(Exception):
    """Enrollment cannot go on; the text says why and what to do."""


class Outcome(StrEnum):
    """What a run did."""

    ENROLLED = "enrolled"
    ALREADY_ENROLLED = "already-enrolled"
    RENEWED = "renewed"
    NOT_DUE = "not-due"


@dataclass(frozen=True)
class EnrollmentResult:
    """How a run ended. `tlsa` is None when there was no wait for the DNS."""

    outcome: Outcome
    name: str
    not_after: datetime
    tlsa: TlsaState | None = None


@dataclass
class Enrollment:
    """Enrollment of the device whose card `card` is. `tlsa_wait` None means not to wait for the DNS."""

    card: IoTSafeClient
    tlsa_wait: TlsaWait | None = None
    progress: Progress = lambda step, text: None
    #: Seconds for one HTTPS request.
    http_timeout: float = 30.0
    #: Seconds to wait for a certificate that the registry has accepted to issue.
    patience: float = 600.0
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self._contents = CardContents(self.card)

    def enroll(self, bundle: Bundle, *, force: bool = False) -> EnrollmentResult:
        """Enroll with a one-time token. With `force`, also when the current certificate is usable.

        Raises EnrollmentError, BundleError, ProvisioningError, HttpsError and CardError.
        """
        registry = self._registry(bundle)
        provisioning = registry.provisioning
        current = self._contents.current_certificate()
        if (
            current is not None
            and not force
            and self._is_usable(current, containers.DEVICE_KEY, bundle.name, provisioning, registry.authorities)
        ):
            return self._keep(bundle, current, provisioning)
        pending = self._pending_certificate(bundle.name, provisioning)
        if pending is None:
            point, resumed = self._pending_key()
            if not resumed:
                # An interrupted run may have used the token before it expired. The registry knows.
                bundle.check_not_expired(self.now())
            request = self._request(containers.PENDING_KEY, bundle.name)
            pending = registry.est.enroll(request, bundle.name, bundle.token.get_secret_value())
            self._accept_pending(pending, bundle.name, point, provisioning)
            self.progress("certificate", f"issued by {_issuer(pending)}")
        self._write_provisioning(bundle.settings(), provisioning)
        self._promote_pending()
        return self._finish(Outcome.ENROLLED, bundle.name, pending, provisioning)

    def _keep(self, bundle: Bundle, current: x509.Certificate, provisioning: Provisioning) -> EnrollmentResult:
        """Leave a usable certificate as it is."""
        self.progress("certificate", f"present, valid until {current.not_valid_after_utc:%Y-%m-%d}")
        issuing_ca = provisioning.issuing_ca
        if current.issuer == issuing_ca.subject:
            self._write_provisioning(bundle.settings(), provisioning)
        else:
            # The CA certificate and the signatures on the card belong to the certificate, and change with it.
            self.progress("certificate", f"{_issuer(current)} has a successor: renew to move to it")
            issuing_ca = self._contents.issuing_ca() or issuing_ca
        return self._finish(
            Outcome.ALREADY_ENROLLED, bundle.name, current, replace(provisioning, issuing_ca=issuing_ca)
        )

    def renew(self, *, within: timedelta | None = None, new_key: bool = False) -> EnrollmentResult:
        """Renew the certificate, authenticated by the current one.

        `within`: only if the certificate expires within that time. `new_key`: for a new key, which replaces the old one
        once its TLSA record is validated. Raises as `enroll` does.
        """
        current, settings = self._contents.current_certificate(), self._contents.registry_settings()
        name = dns_name(current) if current is not None else None
        if current is None or name is None or settings is None:
            raise EnrollmentError("the device is not enrolled: enroll it with a bundle first")
        name = name.lower()
        if within is not None and current.not_valid_after_utc - self.now() > within:
            return EnrollmentResult(Outcome.NOT_DUE, name, current.not_valid_after_utc)
        if current.not_valid_after_utc <= self.now():
            raise EnrollmentError(
                f"the certificate of {name} expired at {current.not_valid_after_utc.isoformat()}: "
                "enroll with a new bundle"
            )
        registry = self._registry(settings)
        if new_key:
            return self._replace_key(registry, settings, current, name)
        renewed = self._renewed(registry, current, name)
        self._write_provisioning(settings, registry.provisioning)
        self._contents.write_certificate(renewed)
        self.progress("certificate", f"renewed, valid until {renewed.not_valid_after_utc:%Y-%m-%d}")
        return self._finish(Outcome.RENEWED, name, renewed, registry.provisioning)

    def _renewed(self, registry: RegistrySession, current: x509.Certificate, name: str) -> x509.Certificate:
        """A newer certificate for the same key. It stays pending until the card holds its CA certificate too.

        Until then, the current certificate and the CA certificate on the card must match: an interrupted run could not
        authenticate to the registry again without them.
        """
        pending = self._contents.pending_certificate()
        if (
            pending is not None
            and pending != current
            and self._is_usable(pending, containers.DEVICE_KEY, name, registry.provisioning)
            and pending.not_valid_before_utc >= current.not_valid_before_utc
        ):
            self.progress("certificate", "taken up from an interrupted run")
            return pending
        point = self.card.public_key(containers.DEVICE_KEY)
        request = self._request(containers.DEVICE_KEY, name)
        renewed = registry.est.reenroll(request, self._contents.tls_identity(current))
        self._accept_pending(renewed, name, point, registry.provisioning)
        return renewed

    def _replace_key(
        self, registry: RegistrySession, settings: RegistrySettings, current: x509.Certificate, name: str
    ) -> EnrollmentResult:
        pending = self._pending_certificate(name, registry.provisioning)
        if pending is None:
            point, _resumed = self._pending_key()
            request = self._request(containers.PENDING_KEY, name)
            pending = registry.est.reenroll(request, self._contents.tls_identity(current))
            self._accept_pending(pending, name, point, registry.provisioning)
            self.progress("certificate", f"issued for the new key by {_issuer(pending)}")
        # The old key stays in use until networks can look up the new one.
        state = self._wait_for_dns(name, pending, registry.provisioning)
        if state not in (None, TlsaState.VOUCHED):
            raise EnrollmentError(
                f"the DNS does not vouch for the new key of {name} ({state}): the old one stays; run again later"
            )
        self._write_provisioning(settings, registry.provisioning)
        self._promote_pending()
        return EnrollmentResult(Outcome.RENEWED, name, pending.not_valid_after_utc, state)

    def _registry(self, settings: RegistrySettings) -> RegistrySession:
        return RegistrySession.open(
            settings, self.now(), self.progress, http_timeout=self.http_timeout, patience=self.patience
        )

    def _is_usable(
        self,
        certificate: x509.Certificate,
        key: bytes,
        name: str,
        provisioning: Provisioning,
        predecessors: Sequence[x509.Certificate] = (),
    ) -> bool:
        return self._contents.is_usable(certificate, key, name, provisioning, self.now(), predecessors)

    def _pending_certificate(self, name: str, provisioning: Provisioning) -> x509.Certificate | None:
        """The certificate that an interrupted run got for the pending key, if it is usable."""
        pending = self._contents.pending_certificate()
        if pending is None or not self._is_usable(pending, containers.PENDING_KEY, name, provisioning):
            return None
        self.progress("certificate", "taken up from an interrupted run")
        return pending

    def _pending_key(self) -> tuple[bytes, bool]:
        point, resumed = self._contents.pending_key()
        self.progress("key", "taken up from an interrupted run" if resumed else "made on the card")
        return point, resumed

    def _request(self, key: bytes, name: str) -> bytes:
        request = build_request(self.card, key, name)
        self.progress("request", f"signed on the card for {name}")
        return request

    def _accept_pending(
        self, certificate: x509.Certificate, name: str, point: bytes, provisioning: Provisioning
    ) -> None:
        """Check a certificate that the registry has issued, and keep it on the card."""
        provisioning.check_certificate(certificate, name, point, self.now())
        self._contents.write_pending_certificate(certificate)

    def _write_provisioning(self, settings: RegistrySettings, provisioning: Provisioning) -> None:
        written = self._contents.write_provisioning(settings, provisioning, self.now())
        if written:
            self.progress("files", f"{written} written to the card")

    def _promote_pending(self) -> None:
        self._contents.promote_pending()
        self.progress("identity", "new key and certificate are in use")

    def _finish(
        self, outcome: Outcome, name: str, certificate: x509.Certificate, provisioning: Provisioning
    ) -> EnrollmentResult:
        state = self._wait_for_dns(name, certificate, provisioning)
        return EnrollmentResult(outcome, name, certificate.not_valid_after_utc, state)

    def _wait_for_dns(self, name: str, certificate: x509.Certificate, provisioning: Provisioning) -> TlsaState | None:
        if self.tlsa_wait is None:
            return None
        issuers = [provisioning.issuing_ca, provisioning.root_ca]
        state = self.tlsa_wait.wait(name, certificate, issuers)
        if state is TlsaState.VOUCHED:
            self.progress("dns", "TLSA record served and validated")
        return state


def _issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string() or "(unnamed CA)"

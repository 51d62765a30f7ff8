"""Enrolling a device, and renewing its certificate: what is on the card decides what is still to do.

There is no journal. Each step leaves its result on the card before the next one starts, and a run looks at the card
first. So a run that was interrupted anywhere is simply started again, and a second run changes nothing.

The new key and certificate grow in the pending containers and replace the current ones in one step, so the card never
holds a key and a certificate that do not belong together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim import csr, identity, layout
from iot_safe_sim.bundle import Bundle, Settings, encode_settings, parse_settings
from iot_safe_sim.card_tls import CardIdentity
from iot_safe_sim.client import CommandFailedError, IoTSafeClient
from iot_safe_sim.dns_wait import TlsaState, TlsaWait
from iot_safe_sim.est import EstClient
from iot_safe_sim.https import Registry
from iot_safe_sim.provisioning import Provisioning, ProvisioningError

log = structlog.get_logger("iot_safe_sim")

_HASH_BY_SIZE = {32: "sha256", 48: "sha384", 64: "sha512"}

#: Told of each step: its name and what it did.
Progress = Callable[[str, str], None]


class EnrollmentError(Exception):
    """Enrollment cannot go on; the text says why and what to do."""


class Outcome(StrEnum):
    """What a run did."""

    ENROLLED = "enrolled"
    ALREADY_ENROLLED = "already-enrolled"
    RENEWED = "renewed"
    NOT_DUE = "not-due"


@dataclass(frozen=True)
class Result:
    """How a run ended. `tlsa` is None when the DNS was not asked."""

    outcome: Outcome
    name: str
    not_after: datetime
    tlsa: TlsaState | None = None


@dataclass
class Enrollment:
    """Enrollment of the card behind `card`. `tlsa_wait` None: the DNS is not asked."""

    card: IoTSafeClient
    tlsa_wait: TlsaWait | None = None
    progress: Progress = lambda step, text: None
    http_timeout: float = 30.0
    patience: float = 600.0
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def enroll(self, bundle: Bundle, *, force: bool = False) -> Result:
        """Enroll with a one-time token. `force`: also when the present certificate is good.

        Raises EnrollmentError, ProvisioningError, HttpsError and CardError.
        """
        est, provisioning, authorities = self._registry(bundle)
        present = self._present()
        if (
            present is not None
            and not force
            and self._is_good(provisioning, present, bundle.name, layout.DEVICE_KEY, authorities)
        ):
            return self._keep(bundle, present, provisioning)
        staged = self._staged(provisioning, bundle.name)
        if staged is None:
            point, resumed = self._pending_key()
            if not resumed:
                # After an interruption the token may have been used in time: the registry knows.
                bundle.check_not_expired(self.now())
            request = self._request(layout.PENDING_KEY, point, bundle.name)
            staged = est.enroll(request, bundle.name, bundle.token.get_secret_value())
            provisioning.check_certificate(staged, bundle.name, point, self.now())
            self.card.write_file(layout.PENDING_CERTIFICATE, staged.public_bytes(Encoding.DER))
            self.progress("certificate", f"issued by {_issuer(staged)}")
        else:
            self.progress("certificate", "taken up from an interrupted run")
        self._store(bundle.settings(), provisioning)
        self._promote()
        return self._finish(Outcome.ENROLLED, bundle.name, staged, provisioning)

    def _keep(self, bundle: Bundle, present: x509.Certificate, provisioning: Provisioning) -> Result:
        """Leave a good certificate as it is."""
        self.progress("certificate", f"present, valid until {present.not_valid_after_utc:%Y-%m-%d}")
        issuing_ca = provisioning.issuing_ca
        if present.issuer == issuing_ca.subject:
            self._store(bundle.settings(), provisioning)
        else:
            # The CA's certificate and the signatures on the card belong to the certificate: they change together.
            self.progress("certificate", f"{_issuer(present)} has a successor: renew to move to it")
            issuing_ca = identity.read_certificate(self.card, layout.ISSUING_CA) or issuing_ca
        return self._finish(
            Outcome.ALREADY_ENROLLED, bundle.name, present, replace(provisioning, issuing_ca=issuing_ca)
        )

    def renew(self, *, within: timedelta | None = None, new_key: bool = False) -> Result:
        """Renew with the present certificate, over TLS with the card's key.

        `within`: only if the certificate ends within that time. `new_key`: with a new key, which replaces the old one
        once the DNS vouches for it. Raises as `enroll`.
        """
        present = self._present()
        settings = self._settings()
        name = identity.dns_name(present) if present is not None else None
        if present is None or name is None or settings is None:
            raise EnrollmentError("the device is not enrolled: enroll it with a bundle first")
        name = name.lower()
        if within is not None and present.not_valid_after_utc - self.now() > within:
            return Result(Outcome.NOT_DUE, name, present.not_valid_after_utc)
        if present.not_valid_after_utc <= self.now():
            raise EnrollmentError(
                f"the certificate of {name} expired at {present.not_valid_after_utc.isoformat()}: "
                "enroll with a new bundle"
            )
        est, provisioning, _authorities = self._registry(settings)
        if new_key:
            return self._replace_key(est, provisioning, settings, present, name)
        renewed = self._renewed(est, provisioning, present, name)
        self._store(settings, provisioning)
        self.card.write_file(layout.CLIENT_CERTIFICATE, renewed.public_bytes(Encoding.DER))
        self.card.write_file(layout.PENDING_CERTIFICATE, b"")
        self.progress("certificate", f"renewed, valid until {renewed.not_valid_after_utc:%Y-%m-%d}")
        return self._finish(Outcome.RENEWED, name, renewed, provisioning)

    def _renewed(
        self, est: EstClient, provisioning: Provisioning, present: x509.Certificate, name: str
    ) -> x509.Certificate:
        """A newer certificate for the same key, which waits on the card until its CA's is there too.

        In between, the present certificate and the CA on the card do not belong together: an interrupted run could not
        prove itself to the registry a second time.
        """
        staged = identity.read_certificate(self.card, layout.PENDING_CERTIFICATE)
        if (
            staged is not None
            and staged != present
            and self._is_good(provisioning, staged, name, layout.DEVICE_KEY)
            and staged.not_valid_before_utc >= present.not_valid_before_utc
        ):
            self.progress("certificate", "taken up from an interrupted run")
            return staged
        point = self.card.public_key(layout.DEVICE_KEY)
        renewed = est.reenroll(self._request(layout.DEVICE_KEY, point, name), self._identity(present))
        provisioning.check_certificate(renewed, name, point, self.now())
        self.card.write_file(layout.PENDING_CERTIFICATE, renewed.public_bytes(Encoding.DER))
        return renewed

    def _replace_key(
        self, est: EstClient, provisioning: Provisioning, settings: Settings, present: x509.Certificate, name: str
    ) -> Result:
        staged = self._staged(provisioning, name)
        if staged is None:
            point, _resumed = self._pending_key()
            staged = est.reenroll(self._request(layout.PENDING_KEY, point, name), self._identity(present))
            provisioning.check_certificate(staged, name, point, self.now())
            self.card.write_file(layout.PENDING_CERTIFICATE, staged.public_bytes(Encoding.DER))
            self.progress("certificate", f"issued for the new key by {_issuer(staged)}")
        # The old key serves until networks can see the new one.
        state = self._wait_for_dns(name, staged, provisioning)
        if state not in (None, TlsaState.VOUCHED):
            raise EnrollmentError(
                f"the DNS does not vouch for the new key of {name} ({state}): the old one stays; run again later"
            )
        self._store(settings, provisioning)
        self._promote()
        return Result(Outcome.RENEWED, name, staged.not_valid_after_utc, state)

    def _registry(self, settings: Settings) -> tuple[EstClient, Provisioning, list[x509.Certificate]]:
        """Fetch and check the registry's provisioning data and CAs; the last are all that are good now."""
        registry = Registry(settings.anchors(), self.http_timeout)
        est = EstClient(
            settings.est,
            registry,
            self.patience,
            waiting=lambda seconds: self.progress("certificate", f"accepted; asking again in {seconds:g} s"),
            broken=lambda seconds: self.progress("certificate", f"connection lost; asking again in {seconds:g} s"),
        )
        authorities = est.ca_certificates()
        provisioning = Provisioning.parse(registry.request("GET", settings.provisioning).body)
        provisioning.check(self.now())
        if provisioning.issuing_ca not in authorities:
            raise ProvisioningError("issuing_ca: not among the CA certificates of the EST server (cacerts)")
        self.progress("registry", f"CA {provisioning.issuing_ca.subject.rfc4514_string()}")
        return est, provisioning, authorities

    def _present(self) -> x509.Certificate | None:
        return identity.read_certificate(self.card)

    def _settings(self) -> Settings | None:
        content = self._content(layout.REGISTRY_SETTINGS)
        return parse_settings(content) if content else None

    def _is_good(
        self,
        provisioning: Provisioning,
        certificate: x509.Certificate,
        name: str,
        key: bytes,
        predecessors: Sequence[x509.Certificate] = (),
    ) -> bool:
        """Whether a certificate is for this name and the key in `key`, valid, by the present CA or a predecessor."""
        try:
            provisioning.check_certificate(certificate, name, self.card.public_key(key), self.now(), predecessors)
        except (ProvisioningError, CommandFailedError) as error:
            log.info("certificate_not_usable", reason=str(error))
            return False
        return True

    def _staged(self, provisioning: Provisioning, name: str) -> x509.Certificate | None:
        """A certificate that an interrupted run has got already, if it is good."""
        staged = identity.read_certificate(self.card, layout.PENDING_CERTIFICATE)
        if staged is None or not self._is_good(provisioning, staged, name, layout.PENDING_KEY):
            return None
        return staged

    def _pending_key(self) -> tuple[bytes, bool]:
        """The key of an interrupted run, or a new one; and whether it is the former.

        The same key lets the registry recognise the same request.
        """
        try:
            point = self.card.public_key(layout.PENDING_KEY)
        except CommandFailedError:
            point = self.card.create_key(layout.PENDING_KEY)
            self.progress("key", "made on the card")
            return point, False
        self.progress("key", "taken up from an interrupted run")
        return point, True

    def _request(self, key: bytes, point: bytes, name: str) -> bytes:
        """A certification request, put together here and signed on the card."""
        request = csr.build(
            csr.device_subject(name), point, csr.device_attributes(name), lambda data: self.card.sign(key, data)
        )
        self.progress("request", f"signed on the card for {name}")
        return request

    def _identity(self, certificate: x509.Certificate) -> CardIdentity:
        chain = tuple(content for file in (layout.ISSUING_CA,) if (content := self.card.read_file(file)))
        return CardIdentity(
            certificate.public_bytes(Encoding.DER),
            chain,
            self.card.public_key(layout.DEVICE_KEY),
            lambda digest: self.card.sign_digest(layout.DEVICE_KEY, digest, _HASH_BY_SIZE[len(digest)]),
        )

    def _store(self, settings: Settings, provisioning: Provisioning) -> None:
        """Write the files that differ."""
        wanted = provisioning.files() | {layout.REGISTRY_SETTINGS: encode_settings(settings)}
        present = {file: self._content(file) for file in wanted}
        # The registry signs anew each time it is asked. Signatures on the card that are still right stay.
        kept = replace(
            provisioning,
            url_signature=present[layout.URL_SIGNATURE],
            server_certificate_signature=present[layout.SERVER_CERTIFICATE_SIGNATURE],
        )
        with contextlib.suppress(ProvisioningError):
            kept.check(self.now())
            wanted |= kept.files()
        changed = [file for file, content in wanted.items() if present[file] != content]
        for file in changed:
            self.card.write_file(file, wanted[file])
        if changed:
            self.progress("files", f"{len(changed)} written to the card")

    def _content(self, file: bytes) -> bytes:
        try:
            return self.card.read_file(file)
        except CommandFailedError:
            return b""

    def _promote(self) -> None:
        self.card.move(layout.PENDING_KEY, layout.DEVICE_KEY, layout.PENDING_CERTIFICATE, layout.CLIENT_CERTIFICATE)
        self.progress("identity", "new key and certificate are in use")

    def _finish(self, outcome: Outcome, name: str, certificate: x509.Certificate, provisioning: Provisioning) -> Result:
        state = self._wait_for_dns(name, certificate, provisioning)
        return Result(outcome, name, certificate.not_valid_after_utc, state)

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

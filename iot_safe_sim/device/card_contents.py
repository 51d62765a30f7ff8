"""What enrollment reads from the card and writes to it.

A new key and its certificate are made in the pending containers and replace the current ones in one step. So the card
never holds a key and a certificate that do not belong together, and an interrupted run finds what it had reached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim.device.certificate import read_certificate
from iot_safe_sim.device.provisioning import Provisioning, ProvisioningError
from iot_safe_sim.device.registry_settings import RegistrySettings
from iot_safe_sim.interface import HASH_NAME_BY_SIZE, containers
from iot_safe_sim.middleware import CardIdentity, CommandFailedError, IoTSafeClient

log = structlog.get_logger("iot_safe_sim")


@dataclass(frozen=True)
class CardContents:
    """The device's identity on `card`. All methods raise CardError."""

    card: IoTSafeClient

    def current_certificate(self) -> x509.Certificate | None:
        """The certificate in use, or None when the device is not enrolled."""
        return read_certificate(self.card)

    def pending_certificate(self) -> x509.Certificate | None:
        """The certificate of an interrupted run, or None."""
        return read_certificate(self.card, containers.PENDING_CERTIFICATE)

    def issuing_ca(self) -> x509.Certificate | None:
        """The CA certificate that the card holds for its current certificate, or None."""
        return read_certificate(self.card, containers.ISSUING_CA)

    def registry_settings(self) -> RegistrySettings | None:
        """Where the registry is, or None when the device is not enrolled. Raises BundleError too."""
        content = self._content(containers.REGISTRY_SETTINGS)
        return RegistrySettings.from_json(content) if content else None

    def is_usable(
        self,
        certificate: x509.Certificate,
        key: bytes,
        name: str,
        provisioning: Provisioning,
        now: datetime,
        predecessors: Sequence[x509.Certificate] = (),
    ) -> bool:
        """Whether a certificate is valid for `name` and the key in the container `key` (see check_certificate)."""
        try:
            provisioning.check_certificate(certificate, name, self.card.public_key(key), now, predecessors)
        except (ProvisioningError, CommandFailedError) as error:
            log.info("certificate_not_usable", reason=str(error))
            return False
        return True

    def pending_key(self) -> tuple[bytes, bool]:
        """The public point of the pending key, which is generated if there is none; and whether it was there.

        An interrupted run uses its key again, because the registry recognises a repeated request by its key.
        """
        try:
            return self.card.public_key(containers.PENDING_KEY), True
        except CommandFailedError:
            return self.card.create_key(containers.PENDING_KEY), False

    def tls_identity(self, certificate: x509.Certificate) -> CardIdentity:
        """The device key and its certificate, for TLS client authentication."""
        issuing_ca = self.card.read_file(containers.ISSUING_CA)
        return CardIdentity(
            certificate.public_bytes(Encoding.DER),
            (issuing_ca,) if issuing_ca else (),
            self.card.public_key(containers.DEVICE_KEY),
            lambda digest: self.card.sign_digest(containers.DEVICE_KEY, digest, HASH_NAME_BY_SIZE[len(digest)]),
        )

    def write_certificate(self, certificate: x509.Certificate) -> None:
        """Replace the current certificate by another one for the same key."""
        self.card.write_file(containers.CLIENT_CERTIFICATE, certificate.public_bytes(Encoding.DER))
        self.card.write_file(containers.PENDING_CERTIFICATE, b"")

    def write_pending_certificate(self, certificate: x509.Certificate) -> None:
        """Keep a new certificate until it replaces the current one."""
        self.card.write_file(containers.PENDING_CERTIFICATE, certificate.public_bytes(Encoding.DER))

    def promote_pending(self) -> None:
        """Replace the current key and certificate by the pending ones, in one step."""
        self.card.move(
            containers.PENDING_KEY,
            containers.DEVICE_KEY,
            containers.PENDING_CERTIFICATE,
            containers.CLIENT_CERTIFICATE,
        )

    def write_provisioning(self, settings: RegistrySettings, provisioning: Provisioning, now: datetime) -> int:
        """Write the files that differ. Returns how many did."""
        wanted = provisioning.files() | {containers.REGISTRY_SETTINGS: settings.to_json()}
        present = {file: self._content(file) for file in wanted}
        # The registry makes new signatures for each request. Signatures on the card that are still right stay.
        kept = replace(
            provisioning,
            url_signature=present[containers.URL_SIGNATURE],
            server_certificate_signature=present[containers.SERVER_CERTIFICATE_SIGNATURE],
        )
        with contextlib.suppress(ProvisioningError):
            kept.check(now)
            wanted |= kept.files()
        changed = [file for file, content in wanted.items() if present[file] != content]
        for file in changed:
            self.card.write_file(file, wanted[file])
        return len(changed)

    def _content(self, file: bytes) -> bytes:
        """The content of a file, also of one whose container does not exist."""
        try:
            return self.card.read_file(file)
        except CommandFailedError:
            return b""

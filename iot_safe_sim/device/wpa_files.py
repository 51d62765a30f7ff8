"""The files that wpa_supplicant needs to join a network with the card's identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim.card import Card
from iot_safe_sim.device.certificate import dns_name, public_point, read_certificate
from iot_safe_sim.device.wpa_configuration import JoinError, Network, Pkcs11, configuration
from iot_safe_sim.durable_file import write_atomically
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport

#: Characters of the folder's path. A Unix socket's path has at most 107; ours ends in /control/INTERFACE (15 at most).
_LONGEST_FOLDER = 107 - len("/control/") - 15
_MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


@dataclass(frozen=True)
class Prepared:
    """What wpa_supplicant is started with: the folder with its files, its configuration, and its environment."""

    name: str
    folder: Path
    text: str
    environment: dict[str, str]

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "wpa_supplicant.conf"

    @property
    def control(self) -> Path:
        """The directory of the control interface."""
        return self.folder / "control"

    @property
    def log(self) -> Path:
        """The output of wpa_supplicant."""
        return self.folder / "wpa_supplicant.log"


def prepare(card: Card, folder: Path, network: Network) -> Prepared:
    """Write the certificate and the configuration of an enrolled card into `folder` (0700).

    Raises JoinError when the device is not enrolled, or a program or file is missing. `card` may be closed afterwards.
    """
    client = IoTSafeClient(MemoryTransport(card.applet))
    certificate = read_certificate(client)
    name = None if certificate is None else dns_name(certificate)
    if certificate is None or name is None:
        raise JoinError("the device has no certificate with a DNS name: enroll it first")
    key = card.applet.store.private_keys[containers.DEVICE_KEY]
    if key.handle is None or key.public != public_point(certificate):
        raise JoinError("the certificate on the card is for another key: enroll the device again")
    _check_anchors(network.radius_ca)
    folder = folder.absolute()
    if len(str(folder)) > _LONGEST_FOLDER:
        raise JoinError(f"{folder}: over {_LONGEST_FOLDER} characters, too long for a control socket in it")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        chain = certificate.public_bytes(Encoding.PEM) + _issuing_ca(client)
        write_atomically(folder / "client.pem", chain)
        supplicant_key = card.keys.supplicant_key(key.handle)
        prepared = Prepared(
            name,
            folder,
            configuration(
                network,
                name,
                folder / "client.pem",
                supplicant_key,
                folder / "control",
                _pkcs11() if supplicant_key.pin_file else None,
            ),
            dict(supplicant_key.environment),
        )
        write_atomically(prepared.file, prepared.text.encode())
    except OSError as error:
        raise JoinError(f"{folder}: {error.strerror}") from error
    return prepared


def _issuing_ca(client: IoTSafeClient) -> bytes:
    issuing = read_certificate(client, containers.ISSUING_CA)
    return b"" if issuing is None else issuing.public_bytes(Encoding.PEM)


def _check_anchors(path: Path) -> None:
    """Raises JoinError for a bad file, which wpa_supplicant would report only as a failed handshake."""
    try:
        x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise JoinError(f"{path}: the RADIUS server's CA cannot be read: {error}") from error


def _pkcs11() -> Pkcs11:
    engines = sorted(Path("/usr/lib").glob("*/engines-3/pkcs11.so"))
    if not engines:
        raise JoinError("OpenSSL's PKCS#11 engine is not installed (Debian: libengine-pkcs11-openssl)")
    return Pkcs11(engines[0], _MODULE)

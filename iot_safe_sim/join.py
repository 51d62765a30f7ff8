"""Joining a network: files for wpa_supplicant, the process, and its state through the control interface."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim import layout
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport
from iot_safe_sim.identity import dns_name, public_point, read_certificate
from iot_safe_sim.storage import write_atomically
from iot_safe_sim.supplicant import JoinError, Network, Pkcs11, configuration

#: A Unix socket's path has at most 107 bytes; ours ends in /control/INTERFACE (15 at most).
_LONGEST_FOLDER = 107 - len("/control/") - 15
_MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


class JoinState(StrEnum):
    """What the supplicant is doing, as far as a person or script cares."""

    AUTHENTICATING = "authenticating"
    JOINED = "joined"
    SERVER_REFUSED = "server-refused"
    KEY_UNAVAILABLE = "key-unavailable"
    REJECTED = "rejected"
    DISCONNECTED = "disconnected"
    ENDED = "ended"


#: Beginning of an event of wpa_supplicant's control interface, and what it means.
_EVENTS = (
    ("CTRL-EVENT-EAP-STARTED", JoinState.AUTHENTICATING),
    ("CTRL-EVENT-EAP-TLS-CERT-ERROR", JoinState.SERVER_REFUSED),
    # It asks for a passphrase when it cannot load the key: token or PIN are wrong.
    ("CTRL-REQ-", JoinState.KEY_UNAVAILABLE),
    ("CTRL-EVENT-EAP-FAILURE", JoinState.REJECTED),
    ("CTRL-EVENT-CONNECTED", JoinState.JOINED),
    ("CTRL-EVENT-DISCONNECTED", JoinState.DISCONNECTED),
    ("CTRL-EVENT-TERMINATING", JoinState.ENDED),
)


@dataclass(frozen=True)
class Prepared:
    """All that wpa_supplicant needs: its configuration, where its control socket will be, and its environment."""

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
        """The control interface's directory."""
        return self.folder / "control"

    @property
    def log(self) -> Path:
        """wpa_supplicant's own output."""
        return self.folder / "wpa_supplicant.log"


def prepare(card: Card, folder: Path, network: Network) -> Prepared:
    """Write the certificate and the configuration of an enrolled card into `folder` (0700).

    Raises JoinError when the card is not enrolled or the system lacks what is needed. The card may be closed after.
    """
    client = IoTSafeClient(MemoryTransport(card.applet))
    certificate = read_certificate(client)
    name = None if certificate is None else dns_name(certificate)
    if certificate is None or name is None:
        raise JoinError("the device has no certificate with a DNS name: enroll it first")
    key = card.applet.store.private_keys[layout.DEVICE_KEY]
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
    issuing = read_certificate(client, layout.ISSUING_CA)
    return b"" if issuing is None else issuing.public_bytes(Encoding.PEM)


def _check_anchors(path: Path) -> None:
    """wpa_supplicant would report a bad file only as a failed handshake."""
    try:
        x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise JoinError(f"{path}: the RADIUS server's CA cannot be read: {error}") from error


def _pkcs11() -> Pkcs11:
    engines = sorted(Path("/usr/lib").glob("*/engines-3/pkcs11.so"))
    if not engines:
        raise JoinError("OpenSSL's PKCS#11 engine is not installed (Debian: libengine-pkcs11-openssl)")
    return Pkcs11(engines[0], _MODULE)


@dataclass(frozen=True)
class Change:
    """A change of state. `detail` is wpa_supplicant's event."""

    state: JoinState
    detail: str


class Supplicant:
    """A running wpa_supplicant. Use it as a context manager: leaving it ends the process."""

    def __init__(self, prepared: Prepared, interface: str, driver: str, *, debug: bool = False) -> None:
        program = shutil.which("wpa_supplicant", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise JoinError("wpa_supplicant is not installed (Debian: wpasupplicant)")
        self._prepared = prepared
        self._interface = interface
        command = [program, "-D", driver, "-i", interface, "-c", str(prepared.file)]
        with prepared.log.open("wb") as log:
            prepared.log.chmod(0o600)
            self._process = subprocess.Popen(
                command + (["-dd", "-t"] if debug else []),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **prepared.environment},
            )
        self._control: _Control | None = None

    def __enter__(self) -> Supplicant:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Say goodbye (EAPOL-Logoff, so that the port closes behind the device) and end the process."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.request("LOGOFF")
            self._control.close()
            self._control = None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def changes(self, wait: float) -> Iterator[Change | None]:
        """State changes as they come; None after each `wait` seconds without one. Ends with the process."""
        control = self._attach()
        while True:
            event = control.event(wait)
            if event is None:
                if self._process.poll() is not None:
                    yield Change(JoinState.ENDED, self._last_line())
                    return
                yield None
                continue
            for beginning, state in _EVENTS:
                if event.startswith(beginning):
                    yield Change(state, event)
                    break

    def status(self) -> dict[str, str]:
        """wpa_supplicant's STATUS: `wpa_state`, `suppPortStatus`, `eap_tls_version` and others."""
        if self._control is None:
            return {}
        lines = self._control.request("STATUS").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def _attach(self) -> _Control:
        """Wait for the control socket. Raises JoinError when wpa_supplicant ends first."""
        path = self._prepared.control / self._interface
        deadline = time.monotonic() + 10
        while self._control is None:
            if self._process.poll() is not None:
                raise JoinError(f"wpa_supplicant ended: {self._last_line()} (whole log: {self._prepared.log})")
            if time.monotonic() > deadline:
                raise JoinError(f"wpa_supplicant gives no control interface at {path}")
            try:
                self._control = _Control(path)
            except OSError:
                time.sleep(0.05)
        return self._control

    def _last_line(self) -> str:
        lines = [line for line in self._prepared.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "(no output)"


class _Control:
    """wpa_supplicant's control interface: datagrams over a Unix socket; unasked ones begin with a priority `<3>`."""

    def __init__(self, path: Path) -> None:
        self._events: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An address of the kernel's choice, outside the file system: answers need somewhere to go.
            self._socket.bind("")
            self._socket.connect(str(path))
            if self.request("ATTACH").strip() != "OK":
                raise OSError("ATTACH was refused")
        except OSError:
            self.close()
            raise

    def request(self, command: str, timeout: float = 2.0) -> str:
        """Send a command, give its answer. Events that come in between are kept. Raises OSError."""
        self._socket.settimeout(timeout)
        self._socket.send(command.encode())
        while True:
            text = self._socket.recv(65536).decode("utf-8", "replace")
            if not text.startswith("<"):
                return text
            self._events.append(text.partition(">")[2])

    def event(self, timeout: float) -> str | None:
        """The next event, or None after `timeout` seconds or when the other side is gone."""
        if self._events:
            return self._events.pop(0)
        self._socket.settimeout(timeout)
        try:
            text = self._socket.recv(65536).decode("utf-8", "replace")
        except OSError:
            return None
        return text.partition(">")[2] if text.startswith("<") else text

    def close(self) -> None:
        """Close our end."""
        self._socket.close()

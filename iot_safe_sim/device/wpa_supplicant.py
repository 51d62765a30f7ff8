"""A wpa_supplicant process, and its state."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from iot_safe_sim.device.wpa_configuration import JoinError
from iot_safe_sim.device.wpa_control import ControlInterface
from iot_safe_sim.device.wpa_files import Prepared


class JoinState(StrEnum):
    """The state of joining, as `iot-safe-sim join` reports it."""

    AUTHENTICATING = "authenticating"
    JOINED = "joined"
    SERVER_REFUSED = "server-refused"
    KEY_UNAVAILABLE = "key-unavailable"
    REJECTED = "rejected"
    DISCONNECTED = "disconnected"
    ENDED = "ended"


#: The beginning of an event of wpa_supplicant's control interface, and the state that it means.
_EVENTS = (
    ("CTRL-EVENT-EAP-STARTED", JoinState.AUTHENTICATING),
    ("CTRL-EVENT-EAP-TLS-CERT-ERROR", JoinState.SERVER_REFUSED),
    # wpa_supplicant asks for a passphrase when it cannot load the key: the token or the PIN is wrong.
    ("CTRL-REQ-", JoinState.KEY_UNAVAILABLE),
    ("CTRL-EVENT-EAP-FAILURE", JoinState.REJECTED),
    ("CTRL-EVENT-CONNECTED", JoinState.JOINED),
    ("CTRL-EVENT-DISCONNECTED", JoinState.DISCONNECTED),
    ("CTRL-EVENT-TERMINATING", JoinState.ENDED),
)


@dataclass(frozen=True)
class Change:
    """A change of state. `detail` is the event of wpa_supplicant."""

    state: JoinState
    detail: str


class Supplicant:
    """A running wpa_supplicant. Use it as a context manager, whose end stops the process, or call `stop`."""

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
        self._control: ControlInterface | None = None

    def __enter__(self) -> Supplicant:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send an EAPOL-Logoff, so that the authenticator closes the port, and end the process."""
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
        """State changes as they come, and None after each `wait` seconds without one. Ends with the process."""
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

    def _attach(self) -> ControlInterface:
        """Wait for the control socket. Raises JoinError when wpa_supplicant ends first."""
        path = self._prepared.control / self._interface
        deadline = time.monotonic() + 10
        while self._control is None:
            if self._process.poll() is not None:
                raise JoinError(f"wpa_supplicant ended: {self._last_line()} (whole log: {self._prepared.log})")
            if time.monotonic() > deadline:
                raise JoinError(f"wpa_supplicant gives no control interface at {path}")
            try:
                self._control = ControlInterface(path)
            except OSError:
                time.sleep(0.05)
        return self._control

    def _last_line(self) -> str:
        lines = [line for line in self._prepared.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "(no output)"

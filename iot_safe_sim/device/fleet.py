"""Enrolling many devices, each with its own card below one directory."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from iot_safe_sim.card import Card, StateError
from iot_safe_sim.device.bundle import PREFIX, Bundle
from iot_safe_sim.device.enrollment import Enrollment, EnrollmentError, Outcome
from iot_safe_sim.device.https import HttpsError
from iot_safe_sim.device.provisioning import ProvisioningError
from iot_safe_sim.device.registry_settings import BundleError
from iot_safe_sim.device.tlsa import TlsaState
from iot_safe_sim.device.tlsa_wait import TlsaWait
from iot_safe_sim.keystore import KeyStoreError
from iot_safe_sim.middleware import CardError, IoTSafeClient, MemoryTransport

#: The errors of one device that do not stop the others.
FAILURES = (
    BundleError,
    CardError,
    EnrollmentError,
    HttpsError,
    KeyStoreError,
    ProvisioningError,
    StateError,
)


@dataclass(frozen=True)
class DeviceResult:
    """How one device ended. `name` is None when its bundle is not readable, `error` is None on success."""

    line: int
    name: str | None
    outcome: Outcome | None = None
    tlsa: TlsaState | None = None
    error: str | None = None


def read_bundles(lines: Iterable[str], limit: int | None) -> Iterator[tuple[int, str]]:
    """Line numbers and bundles. Each line is a bundle, or a JSON object with the bundle in `bundle`."""
    found = 0
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if not text or (limit is not None and found >= limit):
            continue
        if not text.startswith(PREFIX):
            # A line that is neither is passed on as it is, so that the bundle parser reports it with its number.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                text = str(json.loads(text)["bundle"])
        found += 1
        yield number, text


def enroll_fleet(
    bundles: Iterable[tuple[int, str]],
    directory: Path,
    *,
    key_store: str,
    jobs: int,
    tlsa_wait: TlsaWait | None,
    done: Callable[[DeviceResult], None],
) -> None:
    """Enroll the device of each bundle into `directory`/NAME. Calls `done` for each as it ends, from this thread.

    With SoftHSM, devices are enrolled one after another, because a process has one library with one token.
    """
    work: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
    results: queue.SimpleQueue[DeviceResult] = queue.SimpleQueue()
    count = 0
    for item in bundles:
        work.put(item)
        count += 1

    def worker() -> None:
        while (item := work.get()) is not None:
            results.put(_enroll_one(*item, directory, key_store, tlsa_wait))

    threads = [
        threading.Thread(target=worker, daemon=True) for _ in range(1 if key_store == "softhsm" else max(1, jobs))
    ]
    for thread in threads:
        work.put(None)
        thread.start()
    for _ in range(count):
        done(results.get())
    for thread in threads:
        thread.join()


def _enroll_one(line: int, text: str, directory: Path, key_store: str, tlsa_wait: TlsaWait | None) -> DeviceResult:
    name = None
    try:
        bundle = Bundle.parse(text)
        name = bundle.name
        with Card(directory / name, key_store=key_store) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            result = Enrollment(client, tlsa_wait).enroll(bundle)
    except FAILURES as error:
        return DeviceResult(line, name, error=str(error))
    except Exception as error:
        # A defect here must not stop the enrollment of the other devices.
        return DeviceResult(line, name, error=f"internal error: {type(error).__name__}: {error}")
    if result.tlsa not in (None, TlsaState.VOUCHED):
        return DeviceResult(line, name, result.outcome, result.tlsa, f"the DNS does not vouch for it: {result.tlsa}")
    return DeviceResult(line, name, result.outcome, result.tlsa)

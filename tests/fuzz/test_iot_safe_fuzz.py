"""A million APDUs and AT lines: no exception, well-formed answers, no key bytes in any of them.

python -m pytest -m fuzz tests/fuzz/test_iot_safe_fuzz.py
IOT_SAFE_FUZZ_CASES=20000 IOT_SAFE_FUZZ_SEED=5 ...   fewer cases, another seed
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.card import Applet, unprovisioned_store
from iot_safe_sim.interface import StatusWord
from iot_safe_sim.keystore import SoftwareKeyStore
from iot_safe_sim.modem import Modem
from tests.fuzz.iot_safe_inputs import SELECTS, command, line

CASES = int(os.environ.get("IOT_SAFE_FUZZ_CASES", "1000000"))
SEED = int(os.environ.get("IOT_SAFE_FUZZ_SEED", "1"))
STATUS_WORDS = {int(word) for word in StatusWord}
ANSWER = re.compile(
    rb'(?:\r\n(?:\+CSIM|\+CGLA): \d+,"(?:[0-9A-F]{2})*"\r\n|\r\n\+CCHO: [1-3]\r\n|\r\niot-safe-sim\r\n)?\r\nOK\r\n'
    rb"|\r\nERROR\r\n|\r\n\+CME ERROR: \d+\r\n"
)


class WatchedKeyStore(SoftwareKeyStore):
    """Software keys in memory only, whose private values are known to the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.private: set[bytes] = set()

    def generate(self, *, persistent: bool) -> tuple[str, bytes]:
        handle, point = super().generate(persistent=False)
        key = self._keys[handle]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        value = key.private_numbers().private_value.to_bytes(32, "big")
        # Eight equal bytes in a row do not occur by chance.
        self.private |= {value[:8], value[12:20], value[24:]}
        der = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.private.add(der[:64])
        if len(self.private) > 200:
            self.private = set(list(self.private)[-100:]) | {value[:8], value[12:20], value[24:]}
        return handle, point

    def handles(self) -> set[str]:
        return set(self._keys)

    def destroy(self, handle: str) -> None:
        self._keys.pop(handle, None)


def fresh(folder: Path) -> tuple[Applet, WatchedKeyStore]:
    keys = WatchedKeyStore(folder)
    applet = Applet(unprovisioned_store(), keys, lambda store: None)
    for select in SELECTS:
        applet.process(select)
    applet.process(bytes.fromhex("80E2800009E007C105840101B900"))
    return applet, keys


def fault(response: bytes, keys: WatchedKeyStore) -> str | None:
    """What is wrong with a response, or None."""
    status = int.from_bytes(response[-2:], "big")
    if status not in STATUS_WORDS and status >> 8 != 0x61:
        return f"unknown status word: {response.hex()}"
    if len(response) > 257:
        return f"{len(response)} bytes: {response.hex()}"
    if len(response) > 10 and any(secret in response for secret in keys.private):
        return f"bytes of a private key: {response.hex()}"
    return None


@dataclass
class Run:
    """What a run found: faults, how often each status word came, and how many lines got a response."""

    faults: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    answers: int = 0


def run_apdus(folder: Path, seed: int, cases: int) -> Run:
    """Execute `cases` commands."""
    source = random.Random(seed)
    applet, keys = fresh(folder)
    run = Run()
    for number in range(cases):
        if number % 5000 == 4999:
            applet, keys = fresh(folder)
        elif number % 50 == 0:
            applet.process(source.choice(SELECTS))
        response = applet.process(command(source))
        if found := fault(response, keys):
            run.faults.append(found)
        run.statuses[int.from_bytes(response[-2:], "big")] += 1
    return run


def run_lines(folder: Path, seed: int, cases: int) -> Run:
    """Send `cases` lines in random pieces."""
    source = random.Random(seed)
    applet, keys = fresh(folder)
    responses: list[bytes] = []
    modem = Modem(applet, observer=lambda raw, response: responses.append(response))
    run = Run()
    for number in range(cases):
        if number % 5000 == 4999:
            applet, keys = fresh(folder)
            modem = Modem(applet, observer=lambda raw, response: responses.append(response))
        modem.feed(b"\rATE0\r")
        raw = line(source)
        cut = source.randrange(len(raw) + 1)
        output = modem.feed(raw[:cut]) + modem.feed(raw[cut:])
        if b"E1" in raw.upper() or b"\x08" in raw:
            output = b""
        rest = ANSWER.sub(b"", output)
        if rest:
            run.faults.append(f"{raw!r} -> {output!r}")
        run.answers += bool(output)
        run.faults += filter(None, (fault(response, keys) for response in responses))
        responses.clear()
        if source.randrange(20) == 0:
            modem.client_left()
    return run


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_a_million_apdus(tmp_path: Path) -> None:
    begun = time.monotonic()
    run = run_apdus(tmp_path, SEED, CASES)
    print(f"{CASES} APDUs, seed {SEED}, {time.monotonic() - begun:.0f} s:")
    for status, count in run.statuses.most_common(30):
        print(f"  {status:04X} {count}")
    assert not run.faults
    assert StatusWord.UNKNOWN_ERROR not in run.statuses


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_a_million_lines(tmp_path: Path) -> None:
    begun = time.monotonic()
    run = run_lines(tmp_path, SEED, CASES)
    print(f"{CASES} lines, {run.answers} answers, seed {SEED}, {time.monotonic() - begun:.0f} s")
    assert not run.faults
    assert run.answers > CASES // 2

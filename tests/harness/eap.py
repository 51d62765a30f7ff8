"""A real EAP peer: eapol_test, which is wpa_supplicant's EAP and RADIUS client code without a network interface."""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.freeradius import SECRET, SERVER_NAME, FreeRadius
from tests.harness.pki import Identity

_stations = itertools.count(1)

_ATTRIBUTE = re.compile(r"^   Attribute (\d+) \(([^)]*)\) length=\d+\n      Value: (.*)$", re.MULTILINE)
_CODES = {"2": "Access-Accept", "3": "Access-Reject", "11": "Access-Challenge"}


@dataclass(frozen=True)
class EapResult:
    """What the peer saw: the RADIUS answer, its attributes as eapol_test prints them, and whether EAP succeeded."""

    code: str | None
    accepted: bool
    attributes: dict[str, list[str]]
    station: str
    seconds: float
    tls_version: str | None
    output: str = field(repr=False)

    def text(self, name: str) -> str | None:
        """The text of a string attribute in the final answer, None if it is not there."""
        values = self.attributes.get(name)
        return values[0].strip("'") if values else None


def next_station() -> str:
    """A MAC address that no other authentication of this run has."""
    number = next(_stations)
    return f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def write_peer_config(
    folder: Path,
    device: Identity,
    *,
    identity: str,
    server_ca: Path,
    server_name: str = SERVER_NAME,
    tls: str = "1.3",
    name: str = "peer",
    chain: bytes = b"",
) -> Path:
    """A network block for `device`. chain: more certificates (PEM), which the device sends behind its own."""
    certificate, key = device.save(folder, name)
    if chain:
        certificate.write_bytes(certificate.read_bytes() + chain)
    phase1 = {"1.3": 'phase1="tls_disable_tlsv1_3=0"', "1.2": 'phase1="tls_disable_tlsv1_3=1"'}[tls]
    path = folder / f"{name}.conf"
    path.write_text(
        f"""network={{
  key_mgmt=IEEE8021X
  eapol_flags=0
  eap=TLS
  {phase1}
  identity="{identity}"
  ca_cert="{server_ca}"
  domain_match="{server_name}"
  client_cert="{certificate}"
  private_key="{key}"
}}
"""
    )
    return path


def authenticate(
    server: FreeRadius,
    config: Path,
    *,
    ssid: str | None = "iot",
    nas: str = "ap-1",
    timeout: int = 10,
    repeat: int = 0,
    station: str | None = None,
    port: int | None = None,
    extra: tuple[str, ...] = (),
) -> EapResult:
    """One authentication (`repeat`: and as many more, which may resume), at `port` (None: the server's own).

    The output goes to a file: a pipe that nobody drains would stall the peer in mid-conversation.
    """
    station = station or next_station()
    port = port or server.auth_port
    arguments = ["eapol_test", "-c", str(config), "-a", "127.0.0.1", "-p", str(port), "-s", SECRET]
    arguments += ["-t", str(timeout), "-M", station, "-n", "-r", str(repeat)]
    arguments += [f"-N32:s:{nas}"]
    if ssid is not None:
        arguments += [f"-N30:s:02-00-00-00-00-01:{ssid}"]
    arguments += list(extra)
    log = config.with_name(f"{config.stem}-{station.replace(':', '')}.log")
    began = time.perf_counter()
    with log.open("wb") as output:
        done = subprocess.run(arguments, stdout=output, stderr=subprocess.STDOUT, timeout=timeout + 30, check=False)
    seconds = time.perf_counter() - began
    return parse_output(log.read_text(errors="replace"), station, seconds, done.returncode)


def parse_output(text: str, station: str, seconds: float, returncode: int) -> EapResult:
    """Read eapol_test's own account of the conversation."""
    code = None
    attributes: dict[str, list[str]] = {}
    last = [match for match in re.finditer(r"^RADIUS message: code=(\d+) ", text, re.MULTILINE) if match[1] in _CODES]
    if last:
        code = _CODES[last[-1][1]]
        block = text[last[-1].end() :]
        end = block.find("\nSTA ")
        for _, name, value in _ATTRIBUTE.findall(block[: end if end > 0 else None]):
            attributes.setdefault(name, []).append(value.strip())
    version = re.search(r"Using TLS version TLSv([0-9.]+)", text)
    accepted = code == "Access-Accept" and returncode == 0 and text.rstrip().endswith("SUCCESS")
    return EapResult(code, accepted, attributes, station, seconds, version[1] if version else None, text)

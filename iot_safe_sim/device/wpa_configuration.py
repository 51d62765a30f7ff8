"""The configuration of wpa_supplicant for a device with an IoT SAFE identity. Pure: text from values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from iot_safe_sim.keystore import SupplicantKey


class JoinError(Exception):
    """The device cannot join; the text says why."""


@dataclass(frozen=True)
class Network:
    """The network to join. `ssid` None means Ethernet with IEEE 802.1X."""

    #: DNS names, one of which the RADIUS server's certificate must carry.
    radius_names: tuple[str, ...]
    radius_ca: Path
    ssid: str | None = None
    tls13: bool = True


@dataclass(frozen=True)
class Pkcs11:
    """OpenSSL's PKCS#11 engine, and the module that it loads."""

    engine: Path
    module: Path


def configuration(
    network: Network,
    identity: str,
    certificate: Path,
    key: SupplicantKey,
    control: Path,
    pkcs11: Pkcs11 | None,
) -> str:
    """The text of the configuration file. Raises JoinError for a value that it cannot contain."""
    lines = [
        f"ctrl_interface={_path(control)}",
        "eapol_version=2",
        f"ap_scan={0 if network.ssid is None else 1}",
    ]
    if pkcs11 is not None:
        lines += [f"pkcs11_engine_path={_path(pkcs11.engine)}", f"pkcs11_module_path={_path(pkcs11.module)}"]
    lines += ["network={", *(f"\t{line}" for line in _network_lines(network, identity, certificate, key)), "}", ""]
    return "\n".join(lines)


def _network_lines(network: Network, identity: str, certificate: Path, key: SupplicantKey) -> list[str]:
    if network.ssid is None:
        # wpa_supplicant must not wait for dynamic WEP keys, which Ethernet does not have.
        link = ["key_mgmt=IEEE8021X", "eapol_flags=0"]
    else:
        ssid = network.ssid.encode()
        # IEEE 802.11-2020 section 9.4.2.2.
        if not 1 <= len(ssid) <= 32:
            raise JoinError(f"SSID {network.ssid!r}: found {len(ssid)} bytes, expected 1 to 32")
        # In hexadecimal, because an SSID may contain any byte.
        link = [f"ssid={ssid.hex()}", "key_mgmt=WPA-EAP WPA-EAP-SHA256", "ieee80211w=1"]
    return [
        *link,
        "eap=TLS",
        # wpa_supplicant 2.10 offers TLS 1.3 for EAP-TLS only if this is set.
        f'phase1="tls_disable_tlsv1_3={0 if network.tls13 else 1}"',
        f'identity="{_name(identity)}"',
        f'ca_cert="{_path(network.radius_ca)}"',
        f'domain_match="{";".join(_name(name) for name in network.radius_names)}"',
        f'client_cert="{_path(certificate)}"',
        f'private_key="{_text(key.private_key)}"',
    ]


def _text(value: str) -> str:
    if not value.isprintable() or '"' in value:
        raise JoinError(f"{value!r} cannot stand in a wpa_supplicant configuration")
    return value


def _path(path: Path) -> str:
    return _text(str(path))


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", name):
        raise JoinError(f"{name!r} is not a DNS name")
    return name

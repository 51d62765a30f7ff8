"""Configuration and zone files for Knot DNS and BIND, as text. Pure."""

from __future__ import annotations

from pathlib import Path

from iot_registry.core import names
from iot_registry.local.tsig_keys import ALGORITHM, TsigKey
from web_service.local import Endpoint

# Seconds that resolvers cache the absence of a name (RFC 2308): a new device may have to wait that long.
NEGATIVE_TTL = 1


def _at(endpoint: Endpoint) -> str:
    return f"{endpoint.host}@{endpoint.port}"


def knot_conf(server: Endpoint, key: TsigKey, folder: Path, zones_dir: Path) -> str:
    """A complete knot.conf. It holds the TSIG secret: only the name server may be able to read it.

    folder: directory of Knot (run-time files, journal, keys). zones_dir: where the registry adds one file per zone.
    """
    return f"""\
# Knot DNS as the signing primary of an IoT registry. Made by `iot-registry dns-config`.
server:
    rundir: "{folder}/run"
    listen: {_at(server)}
    background-workers: 2
log:
  - target: stderr
    any: info
database:
    storage: "{folder}/db"
key:
  - id: {key.name}
    algorithm: {ALGORITHM}
    secret: {key.secret_text}
acl:
  # TLSA records below the zone's apex only: a stolen TSIG key cannot delegate or redirect the zone.
  - id: iot-registry-update
    key: {key.name}
    action: update
    update-type: [TLSA]
    update-owner: zone
    update-owner-match: sub
  # The registry compares the zone with its database (reconciliation).
  - id: iot-registry-transfer
    key: {key.name}
    action: transfer
policy:
  - id: iot-registry
    algorithm: ecdsap256sha256
    nsec3: on
    nsec3-iterations: 0
    nsec3-salt-length: 0
    ksk-lifetime: 0
    zsk-lifetime: 30d
    rrsig-lifetime: 7d
    rrsig-refresh: 3d
    dnskey-ttl: 60
    zone-max-ttl: 86400
    propagation-delay: 60
    cds-cdnskey-publish: rollover
include: "{zones_dir}/*.conf"
"""


def knot_zone_conf(zone: str, zones_dir: Path) -> str:
    """The configuration of one zone, for inclusion by knot.conf."""
    return f"""\
zone:
  - domain: {zone}.
    storage: "{zones_dir}"
    file: "{zone}.zone"
    dnssec-signing: on
    dnssec-policy: iot-registry
    acl: [iot-registry-update, iot-registry-transfer]
    # Updates are kept in the journal. The zone file stays as it was first written.
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: changes
"""


def zone_file(zone: str, address: str) -> str:
    """The contents of a new zone: apex, name server, and the host of the PKIX-CD authority URL."""
    kind = "AAAA" if ":" in address else "A"
    authority = names.authority_host(zone).removesuffix(f".{zone}")
    # A zone `_device.<domain>` holds devices only.
    host = "" if zone.startswith(names.DEVICE_LABEL) else f"{authority} 300 {kind} {address}\n"
    return f"""\
$ORIGIN {zone}.
$TTL 300
@ 300 SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 1209600 {NEGATIVE_TTL}
@ 300 NS ns.{zone}.
ns 300 {kind} {address}
{host}"""


def named_conf(server: Endpoint, key: TsigKey, folder: Path, zones: list[str]) -> str:
    """A named.conf for BIND 9.18 to 9.20. Updates are faster than with Knot; the registry cannot roll its keys over."""
    listen = "listen-on-v6" if ":" in server.host else "listen-on"
    blocks = "".join(
        f"""\
zone "{zone}" {{
    type primary; file "{folder}/{zone}.zone"; dnssec-policy "iot-registry"; inline-signing no;
    update-policy {{ grant {key.name} zonesub TLSA; }};
    allow-transfer {{ key "{key.name}"; }};
}};
"""
        for zone in zones
    )
    return f"""\
// BIND as the signing primary of an IoT registry. Made by `iot-registry dns-config --server bind`.
key "{key.name}" {{ algorithm {ALGORITHM}; secret "{key.secret_text}"; }};
options {{
    directory "{folder}";
    pid-file "{folder}/run/named.pid"; session-keyfile "{folder}/run/session.key";
    managed-keys-directory "{folder}/run";
    {listen} port {server.port} {{ {server.host}; }};
    recursion no; dnssec-validation no; empty-zones-enable no;
    notify explicit; notify-delay 0;
    key-directory "{folder}/keys";
    sig-signing-signatures 1000; sig-signing-nodes 10000;
}};
controls {{ }};
dnssec-policy "iot-registry" {{
    keys {{
        ksk lifetime unlimited algorithm ecdsap256sha256;
        zsk lifetime 30d algorithm ecdsap256sha256;
    }};
    dnskey-ttl 60; max-zone-ttl 86400; signatures-validity 7d; signatures-refresh 3d;
    nsec3param iterations 0 optout no salt-length 0;
}};
{blocks}"""

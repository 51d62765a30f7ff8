"""Knot DNS as the authoritative, signing server of a test: zones from text, updates by RFC 2136 with TSIG."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update

from tests.harness.process import Daemon, free_port, run, start

SOA_MINIMUM = 1


@dataclass
class Zone:
    """One zone: its records in zone-file text (relative owners), and whether Knot signs it."""

    name: str
    records: str = ""
    signed: bool = True
    ttl: int = 60
    soa_minimum: int = SOA_MINIMUM
    nsec3: bool = False
    # A zone file that is served byte for byte as it is (pre-signed and tampered with, for instance).
    verbatim: str | None = None

    def text(self) -> str:
        if self.verbatim is not None:
            return self.verbatim
        return (
            f"$ORIGIN {self.name}.\n$TTL {self.ttl}\n"
            f"@ 60 SOA ns.{self.name}. hostmaster.{self.name}. 1 3600 600 86400 {self.soa_minimum}\n"
            f"@ 60 NS ns.{self.name}.\nns 60 A 127.0.0.1\n{self.records}\n"
        )


@dataclass
class Knot:
    """A running knotd in `folder`, listening on 127.0.0.1:`port`."""

    folder: Path
    zones: list[Zone]
    port: int = field(default_factory=free_port)
    tsig_secret: bytes = field(default_factory=lambda: os.urandom(32))
    daemon: Daemon | None = None

    TSIG_NAME = "reg-key"

    @property
    def config(self) -> Path:
        return self.folder / "knot.conf"

    @property
    def tsig_secret_text(self) -> str:
        return base64.b64encode(self.tsig_secret).decode()

    def write_config(self) -> None:
        for sub in ("run", "db", "zones"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        blocks = []
        for zone in self.zones:
            (self.folder / "zones" / f"{zone.name}.zone").write_text(zone.text())
            policy = "nsec3" if zone.nsec3 else "nsec"
            signing = f"dnssec-signing: on\n    dnssec-policy: {policy}" if zone.signed else "dnssec-signing: off"
            blocks.append(f"  - domain: {zone.name}.\n    {signing}\n")
        self.config.write_text(
            f"""\
server:
    rundir: {self.folder}/run
    listen: 127.0.0.1@{self.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {self.folder}/db
key:
  - id: {self.TSIG_NAME}
    algorithm: hmac-sha256
    secret: {self.tsig_secret_text}
acl:
  - id: update
    key: {self.TSIG_NAME}
    action: update
  - id: transfer
    address: 127.0.0.1
    action: transfer
policy:
  - id: nsec
    algorithm: ecdsap256sha256
    single-type-signing: on
    dnskey-ttl: 10
    zone-max-ttl: 3600
    propagation-delay: 1
    cds-cdnskey-publish: none
  - id: nsec3
    algorithm: ecdsap256sha256
    single-type-signing: on
    nsec3: on
    nsec3-iterations: 0
    nsec3-salt-length: 0
    dnskey-ttl: 10
    zone-max-ttl: 3600
    propagation-delay: 1
    cds-cdnskey-publish: none
template:
  - id: default
    storage: {self.folder}/zones
    file: "%s.zone"
    acl: [update, transfer]
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
zone:
{"".join(blocks)}"""
        )

    def start(self) -> Knot:
        self.write_config()
        self.daemon = start(
            "knotd",
            ["knotd", "-c", self.config],
            log=self.folder / "knot.log",
            ready=self._serves_all,
            timeout=30,
        )
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()

    def __enter__(self) -> Knot:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def query(self, name: str, rdtype: str = "SOA", timeout: float = 2.0) -> dns.message.Message:
        """Ask this server directly, over TCP (no truncation), without validation."""
        message = dns.message.make_query(name, rdtype, want_dnssec=True)
        return dns.query.tcp(message, "127.0.0.1", port=self.port, timeout=timeout)

    def _serves_all(self) -> bool:
        try:
            for zone in self.zones:
                answer = self.query(zone.name, "DNSKEY" if zone.signed else "SOA", timeout=0.5)
                if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
                    return False
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def trust_anchors(self, zone: str) -> str:
        """The zone's key-signing DNSKEYs in presentation format, one a line: a resolver's trust anchor."""
        answer = self.query(zone, "DNSKEY")
        lines = []
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.DNSKEY:
                lines += [f"{zone}. IN DNSKEY {r.to_text()}" for r in rrset if r.flags == 257]
        return "\n".join(lines) + "\n"

    def update(self, zone: str) -> dns.update.UpdateMessage:
        """An RFC 2136 update of `zone`, signed with the TSIG key; send it with `send`."""
        keyring = {dns.name.from_text(self.TSIG_NAME): dns.tsig.Key(self.TSIG_NAME, self.tsig_secret, "hmac-sha256")}
        return dns.update.UpdateMessage(zone, keyring=keyring)

    def send(self, update: dns.update.UpdateMessage) -> None:
        """Send an update over TCP; raises RuntimeError unless the server applied it."""
        answer = dns.query.tcp(update, "127.0.0.1", port=self.port, timeout=10)
        if answer.rcode() != dns.rcode.NOERROR:
            raise RuntimeError(f"DNS update refused: {dns.rcode.to_text(answer.rcode())}")

    def add_tlsa(self, zone: str, name: str, rdata: str, ttl: int = 60) -> None:
        update = self.update(zone)
        update.add(dns.name.from_text(name), ttl, "TLSA", rdata)
        self.send(update)

    def delete_tlsa(self, zone: str, name: str) -> None:
        update = self.update(zone)
        update.delete(dns.name.from_text(name), "TLSA")
        self.send(update)

    def keymgr(self, *arguments: str) -> str:
        return run(["keymgr", "-c", self.config, *arguments])

    def knotc(self, *arguments: str) -> str:
        return run(["knotc", "-c", self.config, *arguments])

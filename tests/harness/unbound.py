"""Unbound as the validating resolver of a test, with the settings that DNSSEC-bound access control needs."""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query

from tests.harness.process import Daemon, free_port, start, wait_for

_markers = itertools.count(1)


@dataclass
class Unbound:
    """A running unbound in `folder`, validating `stubs` from `anchors`, on 127.0.0.1:`port`.

    stubs: zone name -> (address, port) of its authoritative server.
    anchors: trust anchors in presentation format, one a line.
    """

    folder: Path
    stubs: dict[str, tuple[str, int]]
    anchors: str
    port: int = field(default_factory=free_port)
    tls_port: int | None = None
    tls_key: Path | None = None
    tls_certificate: Path | None = None
    extra: str = ""
    threads: int = 1
    daemon: Daemon | None = None

    @property
    def log(self) -> Path:
        return self.folder / "unbound.log"

    @property
    def control_socket(self) -> Path:
        return self.folder / "control.sock"

    def write_config(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "anchors.key").write_text(self.anchors)
        stubs = "".join(
            f'stub-zone:\n    name: "{zone}."\n    stub-addr: {address}@{port}\n'
            for zone, (address, port) in self.stubs.items()
        )
        zones = "".join(f'    local-zone: "{zone}." transparent\n' for zone in self.stubs)
        tls = ""
        if self.tls_port:
            tls = (
                f"    interface: 127.0.0.1@{self.tls_port}\n    tls-port: {self.tls_port}\n"
                f"    tls-service-key: {self.tls_key}\n    tls-service-pem: {self.tls_certificate}\n"
            )
        config = self.folder / "unbound.conf"
        config.write_text(
            f"""\
server:
    directory: "{self.folder}"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    log-queries: yes
    val-log-level: 2
    num-threads: {self.threads}
    interface: 127.0.0.1@{self.port}
    port: {self.port}
{tls}    access-control: 127.0.0.0/8 allow
    do-ip6: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    trust-anchor-file: "{self.folder}/anchors.key"
    val-sig-skew-min: 0
    val-sig-skew-max: 0
    val-bogus-ttl: 2
    harden-dnssec-stripped: yes
    harden-below-nxdomain: yes
    qname-minimisation: no
    aggressive-nsec: no
    serve-expired: no
    prefetch: no
    cache-min-ttl: 0
    cache-max-ttl: 60
    cache-max-negative-ttl: 1
    ede: yes
    minimal-responses: yes
    edns-buffer-size: 1232
    infra-host-ttl: 5
    infra-cache-max-rtt: 1000
    unknown-server-time-limit: 150
    outbound-msg-retry: 3
    local-zone: "." refuse
{zones}{self.extra}
remote-control:
    control-enable: yes
    control-interface: {self.control_socket}
    control-use-cert: no
{stubs}"""
        )
        return config

    def start(self) -> Unbound:
        config = self.write_config()
        self.daemon = start("unbound", ["unbound", "-d", "-c", config], log=self.log, ready=self._answers)
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()

    def __enter__(self) -> Unbound:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def query(self, name: str, rdtype: str = "TLSA", timeout: float = 3.0) -> dns.message.Message:
        message = dns.message.make_query(name, rdtype, use_edns=0)
        message.flags |= dns.flags.AD
        return dns.query.udp(message, "127.0.0.1", port=self.port, timeout=timeout)

    def _answers(self) -> bool:
        try:
            self.query("ready.invalid", "A", timeout=0.3)
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def control(self, command: str) -> str:
        """One command over the control socket, as `unbound-control` would send it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.control_socket))
            connection.sendall(f"UBCT1 {command}\n".encode())
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()

    def flush(self, name: str) -> None:
        """Flush a name from the cache: its TLSA records, and what QNAME minimisation learned about it."""
        self.control(f"flush_type {name} TLSA")
        self.control(f"flush {name}")

    def queries_for(self, name: str) -> int:
        """How many clients' TLSA queries for `name` the query log holds."""
        # unbound buffers its log; once this query is in it, so is everything before.
        marker = f"marker-{next(_markers)}.invalid. "
        self.query(marker.strip(), "A")
        wait_for(lambda: marker in self._log_text(), "the marker query in unbound's log", timeout=5)
        wanted = name.lower().rstrip(".") + ". "
        return sum(1 for line in self._log_text().lower().splitlines() if f" {wanted}tlsa in" in line)

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace")

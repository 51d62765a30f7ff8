"""DNS client for the authoritative servers: update (RFC 2136), query, AXFR (RFC 5936), NOTIFY (RFC 1996). Blocking."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from iot_registry.local.tsig_keys import TsigKey
from web_service.local import Endpoint

# A DNS message over TCP has at most 65,535 octets. The difference is for header, zone section and TSIG.
MAX_UPDATE_OCTETS = 60_000
NOTIFY_TRIES = 3
NOTIFY_TIMEOUT_SECONDS = 0.5


class DnsError(Exception):
    """The server did not do what was asked.

    refused: it answered with an error, so that a repetition does not help.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@contextlib.contextmanager
def _translated(what: str):  # type: ignore[no-untyped-def]  # a generator-based context manager
    try:
        yield
    except dns.tsig.PeerError as error:
        raise DnsError(f"{what}: the server refuses the TSIG key: {error}", refused=True) from None
    except dns.exception.FormError as error:
        # dnspython raises this if the answer lacks a TSIG. Knot refuses a zone that it does not serve in this way, and
        # from 3.4 on also an update that its ACL forbids.
        if "TSIG" in str(error):
            raise DnsError(
                f"{what}: the answer is not signed: does the server have this zone and this key?", refused=True
            ) from None
        raise DnsError(f"{what}: {type(error).__name__}: {error}") from None
    except (dns.exception.DNSException, OSError, EOFError) as error:
        raise DnsError(f"{what}: {type(error).__name__}: {error}") from None


class DnsClient:
    """The primary server of the zones, accessed with the registry's TSIG key."""

    def __init__(self, server: Endpoint, key: TsigKey, timeout: float) -> None:
        self.server = server
        self._key = key
        self._timeout = timeout

    def replace(self, zone: str, rrsets: Mapping[str, Iterable[str]], ttl: int) -> None:
        """Replace the TLSA RRsets of these names in one update (RFC 2136); without records a name has no RRset.

        The server applies all of it or nothing. A retry after a crash is safe, because a repetition changes nothing.
        Raises DnsError if the server refuses it or does not answer.
        """
        update = dns.update.UpdateMessage(zone, keyring=self._key.keyring)
        for name, records in rrsets.items():
            owner = dns.name.from_text(name)
            update.delete(owner, dns.rdatatype.TLSA)
            for record in sorted(records):
                update.add(owner, ttl, dns.rdatatype.TLSA, record)
        what = f"update of {zone} at {self.server}"
        with _translated(what):
            answer = dns.query.tcp(update, self.server.host, timeout=self._timeout, port=self.server.port)
        if answer.rcode() != dns.rcode.NOERROR:
            raise DnsError(f"{what}: {dns.rcode.to_text(answer.rcode())}", refused=True)

    def check_permission(self, zone: str, name: str) -> None:
        """Check that the server would accept an update of this name's TLSA records. Nothing can change.

        The update has a prerequisite that no zone meets: that its apex does not exist (RFC 2136 section 2.4.5). Knot
        and BIND look at the key and at what it permits first. Raises DnsError as `replace` does.
        """
        update = dns.update.UpdateMessage(zone, keyring=self._key.keyring)
        update.absent(dns.name.from_text(zone))
        update.delete(dns.name.from_text(name), dns.rdatatype.TLSA)
        what = f"update of {zone} at {self.server}"
        with _translated(what):
            answer = dns.query.tcp(update, self.server.host, timeout=self._timeout, port=self.server.port)
        if answer.rcode() != dns.rcode.YXDOMAIN:
            raise DnsError(f"{what}: {dns.rcode.to_text(answer.rcode())}", refused=True)

    def records(self, name: str, server: Endpoint | None = None) -> frozenset[str]:
        """The name's TLSA records, as an authoritative server answers them now. Raises DnsError."""
        at = server or self.server
        query = dns.message.make_query(name, dns.rdatatype.TLSA, flags=0)
        what = f"query of {name} at {at}"
        with _translated(what):
            answer, _tcp = dns.query.udp_with_fallback(query, at.host, timeout=self._timeout, port=at.port)
        if answer.rcode() == dns.rcode.NXDOMAIN:
            found: frozenset[str] = frozenset()
        elif answer.rcode() == dns.rcode.NOERROR:
            owner = dns.name.from_text(name)
            found = frozenset(
                text
                for rrset in answer.answer
                if rrset.rdtype == dns.rdatatype.TLSA and rrset.name == owner
                for text in (_presentation(rdata) for rdata in rrset)
            )
        else:
            raise DnsError(f"{what}: {dns.rcode.to_text(answer.rcode())}", refused=True)
        if not answer.flags & dns.flags.AA:
            raise DnsError(f"{what}: the answer is not authoritative for this name", refused=True)
        return found

    def transfer(self, zone: str) -> dict[str, frozenset[str]]:
        """All TLSA RRsets of a zone, by owner name. Raises DnsError (`refused`: the transfer is not allowed)."""
        failure: DnsError | None = None
        # A server allows transfers by key or by address. Knot refuses a signed request where only the address counts.
        for key in (self._key, None):
            try:
                return self._transfer(zone, key)
            except DnsError as error:
                failure = failure or error
                if not error.refused:
                    break
        assert failure is not None
        raise failure

    def _transfer(self, zone: str, key: TsigKey | None) -> dict[str, frozenset[str]]:
        what = f"transfer of {zone} from {self.server}"
        copy = dns.zone.Zone(dns.name.from_text(zone), relativize=False)
        keyring = key.keyring if key else None
        query, _serial = dns.xfr.make_query(copy, keyring=keyring)
        try:
            with _translated(what):
                dns.query.inbound_xfr(
                    self.server.host, copy, query, port=self.server.port, timeout=self._timeout, lifetime=120
                )
        except DnsError as error:
            refused = error.refused or "TransferError" in str(error)
            raise DnsError(str(error), refused=refused) from None
        found: dict[str, frozenset[str]] = {}
        for owner, rdataset in copy.iterate_rdatasets(dns.rdatatype.TLSA):
            name = owner.to_text(omit_final_dot=True).lower()
            found[name] = frozenset(_presentation(rdata) for rdata in rdataset)
        return found


def _presentation(rdata: object) -> str:
    # In dnspython's text form, spaces divide long hexadecimal data.
    fields = str(rdata).split()
    return " ".join((*fields[:3], "".join(fields[3:]).lower()))


class Notifier:
    """Sends NOTIFY to secondaries and resolvers in threads of its own, so that publication does not wait for them."""

    def __init__(self, targets: Iterable[Endpoint]) -> None:
        self._targets = tuple(targets)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="notify") if self._targets else None

    def notify(self, zone: str) -> None:
        if self._pool:
            for target in self._targets:
                self._pool.submit(send_notify, target, zone)

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)


def send_notify(target: Endpoint, zone: str) -> bool:
    """Send NOTIFY until it is answered, at most NOTIFY_TRIES times; returns whether it was answered."""
    message = dns.message.make_query(zone, dns.rdatatype.SOA, flags=dns.flags.AA)
    message.set_opcode(dns.opcode.NOTIFY)
    wire = message.to_wire()
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(NOTIFY_TIMEOUT_SECONDS)
        for _attempt in range(NOTIFY_TRIES):
            try:
                sock.connect((target.host, target.port))
                sock.send(wire)
                if sock.recv(512)[:2] == wire[:2]:
                    return True
            except OSError:
                continue
    return False

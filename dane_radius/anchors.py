"""The trust anchors on disk, as the module reads them. `trust_sync` is the only writer.

Layout of the anchor directory:

    ca/            OpenSSL's hashed directory (`<subject-hash>.N`, PEM), FreeRADIUS's `ca_path`
    index.jsonl    what each anchor is, one JSON object a line, in the order of the changes

The index is a journal, so that a change costs the writer and every reader the same whether there are ten anchors or
ten thousand: `{"op": "add", ...}` puts an anchor in force, `{"op": "remove", "fingerprint": ...}` ends it. A last line
without its newline is a change that never happened. A certificate in `ca/` that the index does not name vouches for
nothing here; it can at most let OpenSSL finish a handshake whose decision is then a reject.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from dane_radius.names import identity_domain, is_within

INDEX_FILE = "index.jsonl"
CA_FOLDER = "ca"
INDEX_FORMAT = "dane-radius-anchors"
INDEX_VERSION = 1


class AnchorSource(StrEnum):
    """How an anchor came to be trusted."""

    REGISTRY = "registry"
    PKIX_CD = "pkix-cd"
    DANE_TA = "dane-ta"
    LEAF = "leaf"
    MANUAL = "manual"


class AnchorError(ValueError):
    """An index line, or a certificate that it names, is not what it must be."""


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """What the index says of one anchor.

    fingerprint: SHA-256 of the certificate's DER, lower-case hexadecimal. file: its name within `ca/`. ski: the subject
    key identifier in hexadecimal, or "". domains: the identity domains that it may vouch for, normalized.
    """

    fingerprint: str
    file: str
    subject: str
    ski: str
    domains: tuple[str, ...]
    source: AnchorSource
    fetched: datetime
    not_after: datetime

    def vouches_for(self, domain: str) -> bool:
        """Whether names of this identity domain are within the anchor's remit."""
        return any(is_within(domain, own) for own in self.domains)

    def to_json(self) -> dict[str, Any]:
        """The object of an index line, without its `op`."""
        return {
            "fingerprint": self.fingerprint,
            "file": self.file,
            "subject": self.subject,
            "ski": self.ski,
            "domains": list(self.domains),
            "source": str(self.source),
            "fetched": self.fetched.astimezone(UTC).isoformat(timespec="seconds"),
            "not_after": self.not_after.astimezone(UTC).isoformat(timespec="seconds"),
        }

    @classmethod
    def from_json(cls, data: Any) -> AnchorRecord:
        """Raises AnchorError that names what is wrong."""
        try:
            record = cls(
                fingerprint=data["fingerprint"],
                file=data["file"],
                subject=data["subject"],
                ski=data["ski"],
                domains=tuple(data["domains"]),
                source=AnchorSource(data["source"]),
                fetched=datetime.fromisoformat(data["fetched"]),
                not_after=datetime.fromisoformat(data["not_after"]),
            )
        except KeyError as error:
            raise AnchorError(f"anchor record without {error}") from error
        except (TypeError, ValueError) as error:
            raise AnchorError(f"anchor record: {error}") from error
        if len(record.fingerprint) != 64 or not set(record.fingerprint) <= set("0123456789abcdef"):
            raise AnchorError(f"fingerprint {record.fingerprint!r}: 64 lower-case hexadecimal digits expected")
        if not record.file or "/" in record.file or record.file.startswith("."):
            raise AnchorError(f"file {record.file!r}: a plain file name expected")
        if not record.domains or not all(isinstance(domain, str) and domain for domain in record.domains):
            raise AnchorError("domains: at least one identity domain expected")
        return record


def parse_index_line(line: bytes, records: dict[str, AnchorRecord]) -> None:
    """Apply one journal line to `records` (fingerprint -> record). Raises AnchorError."""
    try:
        data = json.loads(line)
    except ValueError as error:
        raise AnchorError(f"index line is not JSON: {error}") from error
    match data:
        case {"op": "add"}:
            record = AnchorRecord.from_json(data)
            records[record.fingerprint] = record
        case {"op": "remove", "fingerprint": str(fingerprint)}:
            records.pop(fingerprint, None)
        case {"format": str(name), "version": version}:
            if name != INDEX_FORMAT or version != INDEX_VERSION:
                raise AnchorError(f"format {name!r} version {version!r}, {INDEX_FORMAT!r} {INDEX_VERSION} expected")
        case _:
            raise AnchorError("index line is neither a header nor an add nor a remove")


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor with its certificate: what a chain may end in, for the domains that its record names."""

    record: AnchorRecord
    der: bytes


class AnchorDirectory:
    """Follows an anchor directory. `for_name` gives the anchors that may vouch for a device name.

    A directory that does not exist yet, or an index that cannot be read, holds no anchors: chain-based matches are
    refused then, and `last_error` says why.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._records: dict[str, AnchorRecord] = {}
        self._by_domain: dict[str, tuple[AnchorRecord, ...]] = {}
        self._certificates: dict[str, bytes] = {}
        # Every domain that some anchor may vouch for; None: not gathered since the last change.
        self._remits: frozenset[str] | None = None
        self._inode = -1
        self._offset = 0
        self.last_error: str | None = None

    def __len__(self) -> int:
        return len(self._records)

    def refresh(self) -> bool:
        """Read what the journal gained since the last time. Returns whether anything changed. Never raises."""
        with self._lock:
            try:
                return self._read_index()
            except (OSError, AnchorError) as error:
                self.last_error = str(error)
                return False

    def _read_index(self) -> bool:
        path = self._path / INDEX_FILE
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            changed = bool(self._records)
            self._reset()
            self.last_error = None
            return changed
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino == self._inode and status.st_size == self._offset:
                return False
            records = self._records
            if status.st_ino != self._inode or status.st_size < self._offset:
                # Compacted or replaced: what is in force is what the new file says, from its start.
                records = {}
                self._offset = 0
            file.seek(self._offset)
            text = file.read()
            whole, _, _torn = text.rpartition(b"\n")
            if records is self._records and whole:
                records = dict(records)
            for line in whole.splitlines():
                if line:
                    parse_index_line(line, records)
            self._inode = status.st_ino
            self._offset += len(whole) + 1 if whole else 0
        changed = records != self._records
        self._records = records
        self._by_domain, self._remits = {}, None
        self._certificates = {k: v for k, v in self._certificates.items() if k in records}
        self.last_error = None
        return changed

    def _reset(self) -> None:
        self._records, self._by_domain, self._certificates = {}, {}, {}
        self._remits = None
        self._inode, self._offset = -1, 0

    def holds(self, name: str) -> bool:
        """Whether an anchor is held for a name: one that may vouch for its identity domain, or its own certificate."""
        with self._lock:
            if self._remits is None:
                self._remits = frozenset(domain for record in self._records.values() for domain in record.domains)
            domain = identity_domain(name)
            while domain:
                if domain in self._remits:
                    return True
                domain = domain.partition(".")[2]
            return name in self._remits

    def for_name(self, name: str) -> Sequence[Anchor]:
        """The anchors that may vouch for a normalized device name, with their certificates."""
        domain = identity_domain(name)
        with self._lock:
            records = self._by_domain.get(domain)
            if records is None:
                records = tuple(r for r in self._records.values() if r.vouches_for(domain))
                self._by_domain[domain] = records
            return [anchor for record in records if (anchor := self._load(record)) is not None]

    def _load(self, record: AnchorRecord) -> Anchor | None:
        der = self._certificates.get(record.fingerprint)
        if der is None:
            try:
                der = pem_to_der((self._path / CA_FOLDER / record.file).read_bytes())
            except (OSError, AnchorError) as error:
                self.last_error = f"{record.file}: {error}"
                return None
            if hashlib.sha256(der).hexdigest() != record.fingerprint:
                self.last_error = f"{record.file}: not the certificate that the index names"
                return None
            self._certificates[record.fingerprint] = der
        return Anchor(record, der)


def pem_to_der(octets: bytes) -> bytes:
    """The DER of the one certificate in a PEM file. Raises AnchorError."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    if octets.count(begin) != 1 or octets.count(end) != 1:
        raise AnchorError(f"{octets.count(begin)} PEM certificates found, 1 expected")
    try:
        return base64.b64decode(b"".join(octets.split(begin)[1].split(end)[0].split()), validate=True)
    except ValueError as error:
        raise AnchorError(f"PEM body: {error}") from error

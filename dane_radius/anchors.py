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
from typing import Any, BinaryIO

from dane_radius.names import identity_domain, is_within, normalize
from dane_radius.reasons import Refused

INDEX_FILE = "index.jsonl"
CA_FOLDER = "ca"
INDEX_FORMAT = "dane-radius-anchors"
INDEX_VERSION = 1
# How much of what was read last is read again, to tell a journal that grew from another one in its place.
_TAIL_OCTETS = 256


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
            texts = {
                key: data[key] for key in ("fingerprint", "file", "subject", "ski", "source", "fetched", "not_after")
            }
            domains = data["domains"]
            if not isinstance(domains, list) or not all(isinstance(text, str) for text in (*texts.values(), *domains)):
                raise AnchorError("anchor record: text, and a list of text for domains, expected")
            record = cls(
                fingerprint=texts["fingerprint"],
                file=texts["file"],
                subject=texts["subject"],
                ski=texts["ski"],
                domains=tuple(domains),
                source=AnchorSource(texts["source"]),
                fetched=datetime.fromisoformat(texts["fetched"]),
                not_after=datetime.fromisoformat(texts["not_after"]),
            )
        except KeyError as error:
            raise AnchorError(f"anchor record without {error}") from error
        except TypeError as error:
            raise AnchorError("anchor record: a JSON object expected") from error
        except AnchorError:
            raise
        except ValueError as error:
            raise AnchorError(f"anchor record: {error}") from error
        if record.fetched.tzinfo is None or record.not_after.tzinfo is None:
            raise AnchorError("fetched and not_after: times with their offset from UTC expected")
        if len(record.fingerprint) != 64 or not set(record.fingerprint) <= set("0123456789abcdef"):
            raise AnchorError(f"fingerprint {record.fingerprint!r}: 64 lower-case hexadecimal digits expected")
        if not record.file or "/" in record.file or record.file.startswith("."):
            raise AnchorError(f"file {record.file!r}: a plain file name expected")
        if not record.domains:
            raise AnchorError("domains: at least one identity domain expected")
        for domain in record.domains:
            _check_domain(domain)
        return record


def _check_domain(domain: str) -> None:
    """A domain that no name's identity domain could be within, or a whole top-level domain, is a mistake."""
    try:
        normal = normalize(domain.encode("utf-8"))
    except (Refused, UnicodeEncodeError) as error:
        raise AnchorError(f"domain {domain!r}: an identity domain expected ({error})") from error
    if normal != domain:
        raise AnchorError(f"domain {domain!r}: {normal!r} expected")


def parse_index_line(line: bytes, records: dict[str, AnchorRecord]) -> None:
    """Apply one journal line to `records` (fingerprint -> record). Raises AnchorError."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
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
        self._version = (-1, -1, -1)
        self._offset = 0
        self._tail = b""
        self.last_error: str | None = None

    def __len__(self) -> int:
        return len(self._records)

    def refresh(self) -> bool:
        """Read what the journal gained since the last time. Returns whether anything changed. Never raises."""
        with self._lock:
            try:
                return self._read_index()
            except (OSError, AnchorError) as error:
                # What cannot be read may be a removal: without the whole index, nothing vouches for anybody.
                held = bool(self._records)
                self._reset()
                self.last_error = str(error)
                return held

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
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version == self._version:
                return False
            known = self._known_part(file)
            # Compacted or replaced: what is in force is what the new file says, from its start. An inode number alone
            # does not tell, because a file system gives it again.
            records = dict(self._records) if known else {}
            file.seek(known)
            whole, _, _torn = file.read().rpartition(b"\n")
            for line in whole.split(b"\n"):
                if line:
                    parse_index_line(line, records)
            self._version = version
            self._offset = known + (len(whole) + 1 if whole else 0)
            file.seek(max(0, self._offset - _TAIL_OCTETS))
            self._tail = file.read(self._offset - file.tell())
        changed = records != self._records
        self._records = records
        self._by_domain, self._remits = {}, None
        self._certificates = {k: v for k, v in self._certificates.items() if k in records}
        self.last_error = None
        return changed

    def _known_part(self, file: BinaryIO) -> int:
        """How many octets at the start of the file have been read already: all up to the last offset, or none."""
        start = max(0, self._offset - _TAIL_OCTETS)
        file.seek(start)
        return self._offset if self._offset and file.read(self._offset - start) == self._tail else 0

    def _reset(self) -> None:
        self._records, self._by_domain, self._certificates = {}, {}, {}
        self._remits = None
        self._version, self._offset, self._tail = (-1, -1, -1), 0, b""

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

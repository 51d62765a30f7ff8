"""The trust anchors on disk, read only. `trust_sync` is the only writer.

Layout of the anchor directory:

    ca/            OpenSSL's hashed directory (`<subject-hash>.N`, PEM), FreeRADIUS's `ca_path`
    index.jsonl    the record of each anchor: see `dane_radius.core.anchor_record`

The last newline of the index is its commit point: a line without one is ignored. A certificate in `ca/` that the index
does not list is not an anchor. With such a certificate OpenSSL may complete a handshake, but the decision ignores it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from dane_radius.core.anchor_record import Anchor, AnchorError, AnchorRecord, parse_index_line, pem_to_der
from dane_radius.core.names import identity_domain

INDEX_FILE = "index.jsonl"
CA_FOLDER = "ca"
# How much of the last part is compared, to distinguish a journal that has grown from another file in its place.
_TAIL_OCTETS = 256


class AnchorDirectory:
    """Follows an anchor directory. `for_name` returns the anchors that may vouch for a device name.

    There are no anchors, and no match by chain succeeds, if the directory does not exist yet or its index cannot be
    read. `last_error` describes the latest error.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._records: dict[str, AnchorRecord] = {}
        self._by_domain: dict[str, tuple[AnchorRecord, ...]] = {}
        self._certificates: dict[str, bytes] = {}
        # All domains that an anchor may vouch for; None: not collected since the last change.
        self._domains: frozenset[str] | None = None
        self._version = (-1, -1, -1)
        self._offset = 0
        self._tail = b""
        self.last_error: str | None = None

    def __len__(self) -> int:
        return len(self._records)

    def refresh(self) -> bool:
        """Read the lines added to the journal since the last call. Returns whether an anchor changed. Never raises."""
        with self._lock:
            try:
                return self._read_index()
            except (OSError, AnchorError) as error:
                # A line that cannot be read may be a removal. Without the whole index, no anchor is in force.
                changed = bool(self._records)
                self._reset()
                self.last_error = str(error)
                return changed

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
            # A file that was compacted or replaced is read from its start. The inode number does not show that: a file
            # system assigns a number again.
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
        self._by_domain, self._domains = {}, None
        self._certificates = {k: v for k, v in self._certificates.items() if k in records}
        self.last_error = None
        return changed

    def _known_part(self, file: BinaryIO) -> int:
        """How many octets of the file were read before: the last offset, or 0 for another file."""
        start = max(0, self._offset - _TAIL_OCTETS)
        file.seek(start)
        return self._offset if self._offset and file.read(self._offset - start) == self._tail else 0

    def _reset(self) -> None:
        self._records, self._by_domain, self._certificates = {}, {}, {}
        self._domains = None
        self._version, self._offset, self._tail = (-1, -1, -1), 0, b""

    def holds(self, name: str) -> bool:
        """Whether there is an anchor for a name: one for its identity domain, or the device's own certificate."""
        with self._lock:
            if self._domains is None:
                self._domains = frozenset(domain for record in self._records.values() for domain in record.domains)
            domain = identity_domain(name)
            while domain:
                if domain in self._domains:
                    return True
                domain = domain.partition(".")[2]
            return name in self._domains

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

"""The trust anchors on disk, as the module reads them. `trust_sync` is the only writer.

Layout of the anchor directory:

    ca/            OpenSSL's hashed directory (`<subject-hash>.N`, PEM), FreeRADIUS's `ca_path`
    index.jsonl    what each anchor is: see `dane_radius.core.anchor_record`

The index's last newline is its commit point: a last line without one is a change that never happened. A certificate in
`ca/` that the index does not name vouches for nothing here; it can at most let OpenSSL finish a handshake whose
decision is then a reject.
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
# How much of what was read last is read again, to tell a journal that grew from another one in its place.
_TAIL_OCTETS = 256


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

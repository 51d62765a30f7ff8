"""The writer of the anchor directory, which `dane_radius.local` describes and reads. Only one process may write.

A crash at any time leaves the state before or after a change:

- An addition first writes the certificate: temporary file, fsync, rename, link, fsync of the folder. The line in the
  journal, one write and one fsync, then commits it.
- A removal first writes the line in the journal. Then it removes the files.

A crash can therefore leave only files that nothing refers to. Opening the store removes those and restores missing
links. A change reads and writes a few files, however many anchors there are.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dane_radius.core import AnchorError, AnchorRecord, AnchorSource
from dane_radius.local import CA_FOLDER
from trust_sync.anchors.certificate import Certificate
from trust_sync.anchors.hashed_directory import HashedDirectory, anchor_file
from trust_sync.anchors.held_anchors import DISCOVERED, HeldAnchors
from trust_sync.anchors.journal import Journal
from trust_sync.anchors.shadowing import CONFIGURED, Footprint, Footprints

LOCK_FILE = ".lock"
# The most domains of a discovered anchor. Anybody may publish a well-known CA under any number of own names.
MAX_DOMAINS = 256


class StoreError(RuntimeError):
    """The store cannot be opened or changed (disk full, permissions, another writer). Nothing has changed."""


class ShadowError(ValueError):
    """An anchor was refused because it would shadow another one."""


class TooManyDomainsError(ValueError):
    """An anchor was refused because it would serve too many domains."""


class AnchorStore:
    """An open anchor directory. Close it when done.

    held: the anchors in force. damaged: anchors of the journal whose certificate was damaged or missing when the store
    was opened; they are no longer in force.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the directory, and create it if necessary. Raises StoreError."""
        self._path = Path(path)
        self.held = HeldAnchors()
        self.damaged: list[AnchorRecord] = []
        self._footprints = Footprints()
        self._directory: HashedDirectory | None = None
        self._journal: Journal | None = None
        self._lock = -1
        try:
            self._open()
        except (OSError, AnchorError) as error:
            self.close()
            raise StoreError(f"{self._path}: {_describe(error)}") from error
        except StoreError:
            self.close()
            raise

    def _open(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self._path}: another trust-sync is writing here; only one may") from error
        self._directory = HashedDirectory(self._path / CA_FOLDER)
        self._journal = Journal(self._path)
        self._load(self._directory, self._journal)

    def _load(self, directory: HashedDirectory, journal: Journal) -> None:
        """Read the journal, and make the folder agree with it."""
        records = journal.read()
        contents = directory.sweep(records)
        for fingerprint, record in records.items():
            certificate = directory.read_or_none(record.file)
            if certificate is None or certificate.fingerprint != fingerprint:
                # The module refuses it, too. The next synchronization fetches it again.
                journal.remove(fingerprint)
                self.damaged.append(record)
                continue
            if certificate.subject_hash not in contents.links.get(record.file, ()):
                directory.link(certificate.subject_hash, record.file)
            self._footprints.add(Footprint.of(certificate, record.source, fingerprint))
            self.held.put(record)
        for file, certificate in contents.by_hand.items():
            self._footprints.add(Footprint.of(certificate, None, file))

    def close(self) -> None:
        """Release the directory for another writer."""
        for part in (self._journal, self._directory):
            if part is not None:
                part.close()
        self._journal = self._directory = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> AnchorStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def journal(self) -> Journal:
        """The open journal. Raises StoreError after `close`."""
        if self._journal is None:
            raise StoreError(f"{self._path}: closed")
        return self._journal

    @property
    def directory(self) -> HashedDirectory:
        """The open folder of certificates. Raises StoreError after `close`."""
        if self._directory is None:
            raise StoreError(f"{self._path}: closed")
        return self._directory

    def add(
        self, certificate: Certificate, domains: Iterable[str], source: AnchorSource, fetched: datetime
    ) -> AnchorRecord | None:
        """Put an anchor in force for `domains`, besides those that it has. None: nothing changed.

        An anchor that was only discovered belongs to a configured source once that names it. Raises StoreError,
        ShadowError, and TooManyDomainsError for a discovered anchor.
        """
        held = self.held.get(certificate.fingerprint)
        record = _merge(certificate, domains, source, fetched, held)
        if record is None:
            return None
        footprint = Footprint.of(certificate, record.source, record.fingerprint)
        if held is None:
            self._add_new(certificate, record, footprint)
        else:
            self._commit(record)
        if held is None or record.source is not held.source:
            self._footprints.add(footprint)
        self.held.put(record)
        self.journal.compact_if_due(self.held)
        return record

    def _add_new(self, certificate: Certificate, record: AnchorRecord, footprint: Footprint) -> None:
        """Write a certificate and commit its record. Raises StoreError, ShadowError."""
        admission = self._footprints.admit(footprint)
        if admission.refused:
            raise ShadowError(admission.refused)
        for evicted in admission.evict:
            self.remove(evicted)
        try:
            self.directory.put(certificate, record.file)
            self._commit(record)
        except (OSError, StoreError) as error:
            self.directory.discard(record.file, certificate.subject_hash)
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{self._path}: anchor not added: {_describe(error)}") from error

    def _commit(self, record: AnchorRecord) -> None:
        try:
            self.journal.add(record)
        except OSError as error:
            raise StoreError(f"{self._path}: anchor not added: {_describe(error)}") from error

    def remove(self, fingerprint: str) -> bool:
        """Remove an anchor. Returns whether it was in force. Raises StoreError."""
        record = self.held.get(fingerprint)
        if record is None:
            return False
        try:
            self.journal.remove(fingerprint)
        except OSError as error:
            raise StoreError(f"{self._path}: anchor not removed: {_describe(error)}") from error
        self.held.remove(fingerprint)
        self._footprints.remove(fingerprint)
        self.directory.remove(record.file)
        self.journal.compact_if_due(self.held)
        return True

    def withdraw(self, fingerprint: str, domains: Iterable[str]) -> bool:
        """Withdraw an anchor from some domains. One that serves no other domain is removed.

        Returns whether it served any of them. Raises StoreError.
        """
        record = self.held.get(fingerprint)
        if record is None:
            return False
        withdrawn = set(domains)
        remaining = tuple(domain for domain in record.domains if domain not in withdrawn)
        if remaining == record.domains:
            return False
        if not remaining:
            return self.remove(fingerprint)
        smaller = replace(record, domains=remaining)
        try:
            self.journal.add(smaller)
        except OSError as error:
            raise StoreError(f"{self._path}: anchor not removed: {_describe(error)}") from error
        self.held.put(smaller)
        return True


def _merge(
    certificate: Certificate,
    domains: Iterable[str],
    source: AnchorSource,
    fetched: datetime,
    held: AnchorRecord | None,
) -> AnchorRecord | None:
    """The record of an anchor that gains domains or another source. None: it gains nothing.

    Raises TooManyDomainsError.
    """
    fingerprint = certificate.fingerprint
    merged = tuple(sorted({*domains, *(held.domains if held else ())}))
    takes_over = held is not None and source in CONFIGURED and held.source in DISCOVERED
    owner = source if held is None or takes_over else held.source
    if held is not None and merged == held.domains and owner is held.source:
        return None
    if len(merged) > MAX_DOMAINS and owner not in CONFIGURED:
        raise TooManyDomainsError(f"{fingerprint} serves {MAX_DOMAINS} domains already; no more may be added")
    return AnchorRecord(
        fingerprint=fingerprint,
        file=anchor_file(fingerprint),
        subject=certificate.subject_text,
        ski=certificate.ski.hex() if certificate.ski else "",
        domains=merged,
        source=owner,
        fetched=fetched,
        not_after=certificate.not_after,
    )


def _describe(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else None) or str(error)

"""The writer of the anchor directory, which `dane_radius.local` describes and reads. One process at a time.

A change is made so that a crash at any instant leaves the old or the new state:

- an addition puts the certificate down first (temporary file, fsync, rename, links, fsync of the folder); the line
  in the journal, one write and one fsync, is what makes it hold;
- a removal writes the journal line first, and then takes the files away.

So a file too many is all that a crash can leave, and opening the store sweeps it. Each certificate is
`anchor-<fingerprint>.pem`; the names that OpenSSL looks for are links to it, which are derived: any of them that is
missing is made again. No change reads or writes more than a few files, however many anchors there are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dane_radius.core import (
    INDEX_FORMAT,
    INDEX_VERSION,
    AnchorError,
    AnchorRecord,
    AnchorSource,
    identity_domain,
    parse_index_line,
)
from dane_radius.local import CA_FOLDER, INDEX_FILE
from trust_sync.certificate import Certificate, CertificateRefused, parse_pem
from trust_sync.collision import Footprint, judge
from trust_sync.retirement import DISCOVERED

LOCK_FILE = ".lock"
_OURS = re.compile(r"anchor-([0-9a-f]{64})\.pem\Z")
_TEMPORARY = re.compile(r"\.anchor-.*\.tmp\Z")
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+\Z")
_FOREIGN = (".pem", ".crt", ".cer")
_CONFIGURED = frozenset({AnchorSource.MANUAL, AnchorSource.REGISTRY})
# Domains that one anchor may serve: anybody may publish a well-known CA as his own, under as many names as he likes.
MAX_DOMAINS = 256
# The journal is rewritten when it holds this many lines more than twice its anchors: a constant cost per change.
_COMPACT_SLACK = 1000


class StoreError(RuntimeError):
    """The store cannot be opened or changed (disk full, permissions, another writer). What it held still holds."""


class ShadowError(ValueError):
    """An anchor was refused because it would shadow another one."""


class TooManyDomainsError(ValueError):
    """An anchor would serve more domains than one may."""


class AnchorStore:
    """An open anchor directory. Raises StoreError when it cannot be opened; close it when done."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._ca = self._path / CA_FOLDER
        self._index = self._path / INDEX_FILE
        self._records: dict[str, AnchorRecord] = {}
        self._footprints: dict[str, Footprint] = {}
        self._by_domain: dict[str, set[str]] = {}
        self._discovered: dict[str, int] = {}
        self._discovered_total = 0
        # Which anchors share a subject or a key identifier.
        self._shared: dict[tuple[str, bytes], dict[str, Footprint]] = {}
        # Anchors that were in the journal but whose certificate was gone or damaged when the store was opened.
        self.damaged: list[AnchorRecord] = []
        self._lines = 0
        self._size = 0
        self._journal = -1
        self._lock = -1
        self._ca_descriptor = -1
        try:
            self._open()
        except (OSError, AnchorError) as error:
            self.close()
            raise StoreError(f"{self._path}: {_why(error)}") from error
        except StoreError:
            self.close()
            raise

    @property
    def records(self) -> dict[str, AnchorRecord]:
        """What is in force, by fingerprint."""
        return dict(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def get(self, fingerprint: str) -> AnchorRecord | None:
        return self._records.get(fingerprint)

    def for_domain(self, domain: str) -> list[AnchorRecord]:
        """The anchors that may vouch for names of an identity domain."""
        found: dict[str, AnchorRecord] = {}
        while domain:
            for fingerprint in self._by_domain.get(domain, ()):
                found[fingerprint] = self._records[fingerprint]
            domain = domain.partition(".")[2]
        return list(found.values())

    def count_discovered(self, domain: str) -> int:
        """How many anchors discovery has put there for an identity domain, those of single devices included."""
        return self._discovered.get(domain, 0)

    @property
    def discovered(self) -> int:
        """How many anchors discovery has put there in all."""
        return self._discovered_total

    def add(
        self, certificate: Certificate, domains: Iterable[str], source: AnchorSource, fetched: datetime
    ) -> AnchorRecord | None:
        """Put an anchor in force for `domains` (besides those that it has); None when nothing changed.

        What was only discovered before belongs to a configured source from now on, when that names it, too.
        Raises ShadowError when it would shadow another anchor, TooManyDomainsError, StoreError when it cannot be
        written.
        """
        fingerprint = certificate.fingerprint
        held = self._records.get(fingerprint)
        wanted = tuple(sorted({*domains, *(held.domains if held else ())}))
        owner = source if held is None or (source in _CONFIGURED and held.source in DISCOVERED) else held.source
        if held is not None and wanted == held.domains and owner is held.source:
            return None
        if len(wanted) > MAX_DOMAINS and owner not in _CONFIGURED:
            raise TooManyDomainsError(f"{fingerprint} serves {MAX_DOMAINS} domains already; no more may be added")
        record = AnchorRecord(
            fingerprint=fingerprint,
            file=f"anchor-{fingerprint}.pem",
            subject=certificate.subject_text,
            ski=certificate.ski.hex() if certificate.ski else "",
            domains=wanted,
            source=owner,
            fetched=fetched,
            not_after=certificate.not_after,
        )
        footprint = _footprint(certificate, owner, fingerprint)
        if held is None:
            for evicted in self._make_room(footprint):
                self.remove(evicted)
        try:
            if held is None:
                self._put(certificate, record.file)
            self._append({"op": "add", **record.to_json()})
        except OSError as error:
            if held is None:
                self._take_away(certificate.subject_hash, record.file)
            raise StoreError(f"{self._path}: anchor not added: {_why(error)}") from error
        self._hold(record)
        if held is None or owner is not held.source:
            self._note(fingerprint, footprint)
        self._compact_if_due()
        return record

    def remove(self, fingerprint: str, domains: Iterable[str] | None = None) -> bool:
        """End an anchor, for `domains` or altogether. Returns whether it was in force. Raises StoreError."""
        record = self._records.get(fingerprint)
        if record is None:
            return False
        left = tuple(domain for domain in record.domains if domains is not None and domain not in set(domains))
        try:
            if left:
                if left == record.domains:
                    return False
                smaller = replace(record, domains=left)
                self._append({"op": "add", **smaller.to_json()})
                self._hold(smaller)
                return True
            self._append({"op": "remove", "fingerprint": fingerprint})
        except OSError as error:
            raise StoreError(f"{self._path}: anchor not removed: {_why(error)}") from error
        self._let_go(fingerprint)
        self._forget(fingerprint)
        self._take_away(self._hash_of(record.file), record.file)
        self._compact_if_due()
        return True

    def certificate(self, fingerprint: str) -> Certificate | None:
        """The certificate of an anchor, None when it is not held. Raises StoreError when its file is damaged."""
        record = self._records.get(fingerprint)
        if record is None:
            return None
        try:
            return parse_pem((self._ca / record.file).read_bytes())
        except (OSError, CertificateRefused) as error:
            raise StoreError(f"{self._ca / record.file}: {_why(error)}") from error

    def close(self) -> None:
        """Let the next writer in."""
        for name in ("_journal", "_ca_descriptor", "_lock"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def __enter__(self) -> AnchorStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # opening

    def _open(self) -> None:
        if not self._ca.exists():
            self._ca.mkdir(parents=True)
            # Certificates are public: whoever may come as far as this folder may read them, whatever our umask is.
            self._ca.chmod(0o755)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(self._path / LOCK_FILE, flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self._path}: another trust-sync is writing here; only one may") from error
        self._ca_descriptor = os.open(self._ca, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._new_index)
        self._journal = os.open(self._index, flags | os.O_APPEND, 0o644)
        if os.fstat(self._journal).st_size == 0:
            os.fchmod(self._journal, 0o644)
        self._read_journal()
        self._sweep()

    def _read_journal(self) -> None:
        octets = b"".join(iter(lambda: os.read(self._journal, 1 << 20), b""))
        whole = octets.rpartition(b"\n")[0]
        end = len(whole) + 1 if whole else 0
        if end != len(octets):
            # The last change never happened: its line has no end.
            os.ftruncate(self._journal, end)
            os.fsync(self._journal)
        self._size = end
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                parse_index_line(line, self._records)
            except AnchorError as error:
                raise AnchorError(f"{INDEX_FILE} line {number}: {error}") from error
            self._lines += 1
        if end == 0:
            self._append({"format": INDEX_FORMAT, "version": INDEX_VERSION})
            _sync_folder(self._path)

    def _sweep(self) -> None:
        """Make the folder what the journal says: strays of ours away, links that are missing made."""
        links: dict[str, set[str]] = {}
        foreign: list[str] = []
        for entry in os.scandir(self._ca):
            match = _OURS.match(entry.name)
            if _TEMPORARY.match(entry.name) or (match and match[1] not in self._records):
                os.unlink(entry.path)
            elif entry.is_symlink() and _HASHED.match(entry.name):
                links.setdefault(os.readlink(entry.path), set()).add(entry.name[:8])
            elif not match and entry.name.endswith(_FOREIGN):
                foreign.append(entry.name)
        for target, hashes in links.items():
            match = _OURS.match(target)
            if match and match[1] not in self._records:
                for subject_hash in hashes:
                    self._unlink(subject_hash, target)
        for fingerprint, record in self._records.items():
            certificate = parse_or_none(self._ca / record.file)
            if certificate is None or certificate.fingerprint != fingerprint:
                # Fail closed: the module refuses it, too. The next synchronisation fetches it again.
                continue
            self._note(fingerprint, _footprint(certificate, record.source, fingerprint))
            if certificate.subject_hash not in links.get(record.file, ()):
                self._link(certificate.subject_hash, record.file)
        for fingerprint in [f for f in self._records if f not in self._footprints]:
            self._append({"op": "remove", "fingerprint": fingerprint})
            self.damaged.append(self._records.pop(fingerprint))
        for record in self._records.values():
            self._count(record, 1)
        for name in foreign:
            certificate = parse_or_none(self._ca / name)
            if certificate is not None:
                self._note(name, _footprint(certificate, None, name))

    # certificates and links

    def _put(self, certificate: Certificate, name: str) -> None:
        temporary = self._ca / f".{name}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
                _write_all(descriptor, certificate.pem)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, self._ca / name)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._link(certificate.subject_hash, name)
        os.fsync(self._ca_descriptor)

    def _names(self, subject_hash: str) -> Iterator[Path]:
        """The names `<hash>.0`, `<hash>.1`, ... as OpenSSL walks them: the first one that is missing comes last."""
        number = 0
        while True:
            path = self._ca / f"{subject_hash}.{number}"
            yield path
            if not os.path.lexists(path):
                return
            number += 1

    def _link(self, subject_hash: str, name: str) -> None:
        for path in self._names(subject_hash):
            if _target(path) == name:
                return
            if not os.path.lexists(path):
                os.symlink(name, path)
                return

    def _unlink(self, subject_hash: str, name: str) -> None:
        """Take a link away; the last one moves into the gap, at which OpenSSL would stop looking."""
        paths = list(self._names(subject_hash))[:-1]
        mine = next((path for path in paths if _target(path) == name), None)
        if mine is None:
            return
        if mine == paths[-1]:
            os.unlink(mine)
        else:
            os.rename(paths[-1], mine)

    def _take_away(self, subject_hash: str | None, name: str) -> None:
        """Remove a certificate's files as far as that works: what stays behind is harmless and swept later."""
        with contextlib.suppress(OSError):
            if subject_hash is not None:
                self._unlink(subject_hash, name)
            os.unlink(self._ca / name)
            os.fsync(self._ca_descriptor)

    def _hash_of(self, name: str) -> str | None:
        certificate = parse_or_none(self._ca / name)
        return certificate.subject_hash if certificate else None

    # the journal

    def _append(self, line: dict[str, Any]) -> None:
        """One line, all of it or nothing: what a full disk took in part is cut off again."""
        octets = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._journal, octets)
            if written != len(octets):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._journal)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._journal, self._size)
            raise
        self._size += len(octets)
        self._lines += 1

    @property
    def _new_index(self) -> Path:
        return self._path / f".{INDEX_FILE}.new"

    def _compact_if_due(self) -> None:
        if self._lines > 2 * len(self._records) + _COMPACT_SLACK:
            # The change itself is done; a disk that has no room for a shorter journal gets another chance later.
            with contextlib.suppress(OSError):
                self._compact()

    def _compact(self) -> None:
        lines: list[dict[str, Any]] = [{"format": INDEX_FORMAT, "version": INDEX_VERSION}]
        lines += [{"op": "add", **record.to_json()} for record in self._records.values()]
        octets = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        descriptor = os.open(self._new_index, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            _write_all(descriptor, octets)
            os.fsync(descriptor)
            os.rename(self._new_index, self._index)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self._new_index)
            raise
        os.close(self._journal)
        self._journal, self._size, self._lines = descriptor, len(octets), len(lines)
        _sync_folder(self._path)

    # what is in force

    def _hold(self, record: AnchorRecord) -> None:
        self._let_go(record.fingerprint)
        self._records[record.fingerprint] = record
        self._count(record, 1)

    def _let_go(self, fingerprint: str) -> None:
        record = self._records.pop(fingerprint, None)
        if record is not None:
            self._count(record, -1)

    def _count(self, record: AnchorRecord, change: int) -> None:
        self._discovered_total += change if record.source in DISCOVERED else 0
        for domain in record.domains:
            members = self._by_domain.setdefault(domain, set())
            (members.add if change > 0 else members.discard)(record.fingerprint)
            if not members:
                del self._by_domain[domain]
            if record.source in DISCOVERED:
                # A device's own certificate vouches for its name alone, and counts for the domain of that.
                owner = identity_domain(domain) if record.source is AnchorSource.LEAF else domain
                self._discovered[owner] = self._discovered.get(owner, 0) + change
                if not self._discovered[owner]:
                    del self._discovered[owner]

    # what shadows what

    def _make_room(self, newcomer: Footprint) -> tuple[str, ...]:
        held = {label: other for key in newcomer.keys for label, other in self._shared.get(key, {}).items()}
        verdict = judge(newcomer, held.values())
        if verdict.refused:
            raise ShadowError(verdict.refused)
        return verdict.evict

    def _note(self, label: str, footprint: Footprint) -> None:
        self._footprints[label] = footprint
        for key in footprint.keys:
            self._shared.setdefault(key, {})[label] = footprint

    def _forget(self, label: str) -> None:
        footprint = self._footprints.pop(label, None)
        for key in footprint.keys if footprint else ():
            members = self._shared.get(key, {})
            members.pop(label, None)
            if not members:
                self._shared.pop(key, None)


def _footprint(certificate: Certificate, source: AnchorSource | None, label: str) -> Footprint:
    return Footprint(label, certificate.subject, certificate.ski, certificate.spki, source)


def parse_or_none(path: Path) -> Certificate | None:
    """The certificate in a PEM file, None when there is none that can be read."""
    try:
        return parse_pem(path.read_bytes())
    except (OSError, CertificateRefused):
        return None


def _target(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _write_all(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else None) or str(error)

"""OpenSSL's hashed directory, `ca/`: certificates, and the links by which OpenSSL finds them.

Each certificate is `anchor-<fingerprint>.pem`. Its links `<subject hash>.<number>` are derived from it, as
`openssl rehash` derives them. OpenSSL tries the numbers from 0 up to the first one that is missing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dane_radius.core import AnchorRecord
from trust_sync.anchors.certificate import Certificate, CertificateRefused, parse_pem
from trust_sync.shared import write_all

_ANCHOR_FILE = re.compile(r"anchor-([0-9a-f]{64})\.pem\Z")
_TEMPORARY_FILE = re.compile(r"\.anchor-.*\.tmp\Z")
_LINK = re.compile(r"[0-9a-f]{8}\.\d+\Z")
_CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer")


def anchor_file(fingerprint: str) -> str:
    """The file name of an anchor's certificate."""
    return f"anchor-{fingerprint}.pem"


@dataclass(frozen=True)
class FolderContents:
    """What the folder holds. links: subject hashes of the links to each file. by_hand: certificates of others."""

    links: Mapping[str, Collection[str]]
    by_hand: Mapping[str, Certificate]


class HashedDirectory:
    """An open `ca/` folder. Methods that write raise OSError. Close it when done."""

    def __init__(self, path: Path) -> None:
        """Open the folder, and create it if necessary. Raises OSError."""
        self._path = path
        if not path.exists():
            path.mkdir(parents=True)
            # Certificates are public. The umask must not hide them from the RADIUS server.
            path.chmod(0o755)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, file: str) -> Certificate:
        """Read a certificate. Raises OSError, CertificateRefused."""
        return parse_pem((self._path / file).read_bytes())

    def read_or_none(self, file: str) -> Certificate | None:
        """Read a certificate. None: there is none that can be read."""
        try:
            return self.read(file)
        except (OSError, CertificateRefused):
            return None

    def put(self, certificate: Certificate, file: str) -> None:
        """Write a certificate durably, with its link. A failure leaves at most a stray file, which `sweep` removes."""
        temporary = self._path / f".{file}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
                write_all(descriptor, certificate.pem)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, self._path / file)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self.link(certificate.subject_hash, file)
        os.fsync(self._descriptor)

    def remove(self, file: str) -> None:
        """Remove a certificate and its link as far as possible. What remains is harmless, and swept later."""
        certificate = self.read_or_none(file)
        self.discard(file, certificate.subject_hash if certificate else None)

    def discard(self, file: str, subject_hash: str | None) -> None:
        """As `remove`, for a certificate whose subject hash is known. None: the link is left to `sweep`."""
        with contextlib.suppress(OSError):
            if subject_hash is not None:
                self._unlink(subject_hash, file)
            os.unlink(self._path / file)
            os.fsync(self._descriptor)

    def sweep(self, records: Mapping[str, AnchorRecord]) -> FolderContents:
        """Remove the files and links of anchors that are not in `records`, and return what the folder holds."""
        links: dict[str, set[str]] = {}
        by_hand: list[str] = []
        for entry in os.scandir(self._path):
            match = _ANCHOR_FILE.match(entry.name)
            if _TEMPORARY_FILE.match(entry.name) or (match and match[1] not in records):
                os.unlink(entry.path)
            elif entry.is_symlink() and _LINK.match(entry.name):
                links.setdefault(os.readlink(entry.path), set()).add(entry.name[:8])
            elif not match and entry.name.endswith(_CERTIFICATE_SUFFIXES):
                by_hand.append(entry.name)
        for target, hashes in links.items():
            match = _ANCHOR_FILE.match(target)
            if match and match[1] not in records:
                for subject_hash in hashes:
                    self._unlink(subject_hash, target)
        found = {file: certificate for file in by_hand if (certificate := self.read_or_none(file)) is not None}
        return FolderContents(links, found)

    def link(self, subject_hash: str, file: str) -> None:
        """Make the link of a certificate, unless it is there."""
        for path in self._numbered(subject_hash):
            if _target(path) == file:
                return
            if not os.path.lexists(path):
                os.symlink(file, path)
                return

    def _unlink(self, subject_hash: str, file: str) -> None:
        """Remove a link. The last link moves into the gap, at which OpenSSL would stop looking."""
        paths = list(self._numbered(subject_hash))[:-1]
        own = next((path for path in paths if _target(path) == file), None)
        if own is None:
            return
        if own == paths[-1]:
            os.unlink(own)
        else:
            os.rename(paths[-1], own)

    def _numbered(self, subject_hash: str) -> Iterator[Path]:
        """The paths `<hash>.0`, `<hash>.1`, ... in OpenSSL's order, up to and including the first missing one."""
        number = 0
        while True:
            path = self._path / f"{subject_hash}.{number}"
            yield path
            if not os.path.lexists(path):
                return
            number += 1


def _target(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None

"""Trust anchors, and their records in the anchor index.

The index is a journal with one JSON object per line: `{"op": "add", ...}` adds an anchor, `{"op": "remove",
"fingerprint": ...}` removes one. For the writer and for each reader, the cost of a change does not depend on the number
of anchors. `dane_radius.local.anchor_directory` reads the files; `trust_sync` writes them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from dane_radius.core.names import is_within, normalize
from dane_radius.core.reasons import Refused

INDEX_FORMAT = "dane-radius-anchors"
INDEX_VERSION = 1


class AnchorSource(StrEnum):
    """Where an anchor was obtained."""

    REGISTRY = "registry"
    PKIX_CD = "pkix-cd"
    DANE_TA = "dane-ta"
    LEAF = "leaf"
    MANUAL = "manual"


class AnchorError(ValueError):
    """An index line, or a certificate that the index names, is malformed."""


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """The index's record of one anchor.

    fingerprint: SHA-256 of the certificate's DER, in lower-case hexadecimal. file: its file name within `ca/`. ski: the
    subject key identifier in hexadecimal, or "". domains: the identity domains that it may vouch for, normalized.
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
        """Whether the anchor may vouch for names of this identity domain."""
        return any(is_within(domain, own) for own in self.domains)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of an index line, without `op`."""
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
        """The record in the JSON object of an index line. Raises AnchorError, which names the error."""
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
    """Raises AnchorError unless `domain` is a normalized name of at least two labels."""
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
    """An anchor with its certificate. A path may end in it, for the identity domains that its record names."""

    record: AnchorRecord
    der: bytes


def pem_to_der(octets: bytes) -> bytes:
    """The DER of the only certificate in a PEM file. Raises AnchorError."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    if octets.count(begin) != 1 or octets.count(end) != 1:
        raise AnchorError(f"{octets.count(begin)} PEM certificates found, 1 expected")
    try:
        return base64.b64decode(b"".join(octets.split(begin)[1].split(end)[0].split()), validate=True)
    except ValueError as error:
        raise AnchorError(f"PEM body: {error}") from error

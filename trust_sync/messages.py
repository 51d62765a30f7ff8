"""What an IoT registry says: the answers of its change feed, read element by element and checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dane_radius.core import Refused, normalize
from trust_sync.certificate import (
    Certificate,
    CertificateProblem,
    CertificateRefused,
    check_authority,
    check_complexity,
    parse_pem,
)
from trust_sync.config import RegistryConfig
from trust_sync.json_stream import Bounds, Unusable

# What goes into a log line or the state file of a text that somebody else wrote.
_MAX_TEXT = 300
_MAX_PROBLEMS = 5


class FeedError(RuntimeError):
    """A registry could not be heard. `reason` is one of `metrics.SOURCE_FAILURES`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(shortened(detail))
        self.reason = reason


class WentBack(FeedError):
    """The numbers of an answer contradict each other, or what was asked: only a snapshot helps."""


def shortened(text: str) -> str:
    """A text of bounded length."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


class _Message(BaseModel):
    # A newer registry may say more; what it says of what we know must be of the right type.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class AnchorMessage(_Message):
    """A CA certificate. `domain` stands in snapshots only; a change names it itself."""

    pem: str
    fingerprint: str | None = None
    domain: str | None = None


class Change(_Message):
    """One change of the feed."""

    seq: int = Field(ge=0)
    type: str
    domain: str = ""
    name: str | None = None
    anchor: AnchorMessage | None = None


@dataclass
class Problems:
    """What could not be read: how much of it, and the first few in words."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < _MAX_PROBLEMS:
            self.first.append(shortened(text))


class ChangesReader:
    """Reads the answer to a long poll for the changes after `since`.

    `changes`: those that are new and can be read, in their order. `problems`: what is wrong with the others.
    """

    def __init__(self, since: int) -> None:
        self.since, self._last = since, since
        self.changes: list[Change] = []
        self.problems = Problems()
        self.next = since

    def take(self, _array: str, item: Any) -> None:
        """Take one element of `changes`."""
        try:
            change = Change.model_validate(item)
        except (ValidationError, RecursionError) as error:
            why = item.why if isinstance(item, Unusable) else first_problem(error)
            self.problems.add(f"a change cannot be read: {why}")
            return
        if change.seq <= self._last:
            self.problems.add(f"change {change.seq} comes after {self._last}")
            return
        self.changes.append(change)
        self._last = change.seq

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """The answer is whole. Raises FeedError when its numbers make no sense: nothing of it can be relied on."""
        _expect_array("changes", counts)
        self.next = _number("next", members)
        if self.next < self.since:
            raise WentBack("malformed", f"next is {self.next}, and {self.since} was asked after: the feed goes back")
        if self._last > self.next:
            raise WentBack("malformed", f"next is {self.next}, and there is a change {self._last}")


class SnapshotReader:
    """Reads the whole state. `anchors`: its elements, or why one cannot be read. `names`: how many it lists."""

    def __init__(self) -> None:
        self.anchors: list[AnchorMessage | str] = []
        self.seq = 0
        self.names = 0

    def take(self, array: str, item: Any) -> None:
        """Take one element of `anchors` or `names`. Names are counted only: the DNS says what they are worth."""
        if array != "anchors":
            return
        try:
            self.anchors.append(AnchorMessage.model_validate(item))
        except (ValidationError, RecursionError) as error:
            why = item.why if isinstance(item, Unusable) else first_problem(error)
            self.anchors.append(shortened(why))

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """The answer is whole. Raises FeedError."""
        _expect_array("anchors", counts)
        if "names" in members:
            raise FeedError("malformed", "names: an array is expected")
        self.seq, self.names = _number("seq", members), counts.get("names", 0)


def _expect_array(key: str, counts: dict[str, int]) -> None:
    if key not in counts:
        raise FeedError("malformed", f"{key}: an array is expected")


def _number(key: str, members: dict[str, Any]) -> int:
    found = members.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise FeedError("malformed", f"{key}: {type(found).__name__} found, a number from 0 is expected")
    return found


def bounds_of_changes(registry: RegistryConfig) -> Bounds:
    return Bounds(registry.max_changes_octets, registry.max_item_octets, {"changes": registry.max_changes})


def bounds_of_snapshot(registry: RegistryConfig) -> Bounds:
    items = {"anchors": registry.max_anchors, "names": registry.max_names}
    return Bounds(registry.max_snapshot_octets, registry.max_item_octets, items)


def first_problem(error: Exception) -> str:
    """The first thing that is wrong with a message, without what was found there."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


@dataclass(frozen=True)
class Wanted:
    """An anchor that a registry publishes, fit to be installed."""

    certificate: Certificate
    domain: str

    @property
    def key(self) -> tuple[str, str]:
        return self.certificate.fingerprint, self.domain


def read_domain(text: str, registry: RegistryConfig) -> str:
    """A domain that a registry speaks of, normalized. Raises ValueError unless it is one that it may speak for."""
    try:
        domain = normalize(text.encode("utf-8", "surrogatepass"))
    except Refused as error:
        raise ValueError(error.detail) from error
    if not registry.speaks_for(domain):
        raise ValueError(f"{domain!r} is outside of {', '.join(registry.domains)}")
    return domain


def read_anchor(message: AnchorMessage, domain: str, registry: RegistryConfig, now: datetime) -> Wanted:
    """The anchor in a message. Raises CertificateRefused, or ValueError for a domain that is not the registry's."""
    domain = read_domain(domain, registry)
    certificate = parse_pem(message.pem.encode())
    if message.fingerprint and message.fingerprint.lower().replace(":", "") != certificate.fingerprint:
        raise CertificateRefused(
            CertificateProblem.NOT_A_CERTIFICATE, f"its fingerprint is not {message.fingerprint}, as was said"
        )
    check_complexity(certificate)
    try:
        check_authority(certificate, "device." + domain, now)
    except CertificateRefused as error:
        # Dates are OpenSSL's and the module's business at each authentication: our clock may be wrong, and a CA may
        # be published before its time. Name constraints, too: there may be device names that they allow.
        if error.problem is CertificateProblem.NOT_A_CA:
            raise
    return Wanted(certificate, domain)

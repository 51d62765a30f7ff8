"""An IoT registry's change feed: the whole state once, and then every change, resumable. Speaks HTTPS only."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dane_radius.anchors import AnchorRecord, AnchorSource
from dane_radius.log import Logger
from dane_radius.names import is_within, normalize
from dane_radius.reasons import Refused
from trust_sync.certificate import Certificate, CertificateProblem, CertificateRefused, check_authority, parse_pem
from trust_sync.config import RegistryConfig, read_secret
from trust_sync.fetch import tls_context
from trust_sync.metrics import Metrics
from trust_sync.standing import Trigger, retry_after
from trust_sync.state import FeedPosition
from trust_sync.store import AnchorStore, ShadowError, StoreError

MAX_ANSWER_OCTETS = 64 * 1024 * 1024
_CONNECT_SECONDS = 10.0
# A snapshot may be megabytes over a slow line.
_SNAPSHOT_SECONDS = 110
_BACKOFF_SECONDS = (1.0, 300.0)
# A full disk must not keep revocations from being heard for long.
_STORE_BACKOFF_SECONDS = (1.0, 10.0)
# An answer that brings nothing new comes after a wait; a registry that does not wait is asked no more often than this.
_PACE_SECONDS = 1.0
# Full comparisons that are asked for out of turn come no closer together than this.
_COMPARE_SECONDS = 10.0
_BREATH = 64


class FeedError(RuntimeError):
    """A registry could not be heard. `reason` is one of `metrics.SOURCE_FAILURES`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class HistoryGone(Exception):
    """The registry has forgotten the changes that are asked for (410): only a snapshot helps."""


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


class Changes(_Message):
    """The answer to a long poll."""

    changes: list[Any]
    next: int = Field(ge=0)


class Snapshot(_Message):
    """The whole state."""

    seq: int = Field(ge=0)
    anchors: list[Any]
    names: list[Any] = []


class SessionGuard(Protocol):
    """Who is told what changed."""

    async def changed(self, name: str, trigger: Trigger) -> None: ...

    async def domain_changed(self, domain: str, trigger: Trigger) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """An anchor that a registry publishes, fit to be installed."""

    certificate: Certificate
    domain: str


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
    try:
        check_authority(certificate, "device." + domain, now)
    except CertificateRefused as error:
        # Dates are OpenSSL's and the module's business at each authentication: our clock may be wrong, and a CA may
        # be published before its time. Name constraints, too: there may be device names that they allow.
        if error.problem is CertificateProblem.NOT_A_CA:
            raise
    return Wanted(certificate, domain)


def read_changes(answer: Changes, since: int) -> tuple[list[Change], list[str]]:
    """The changes of an answer that are new and can be read, in their order, and what is wrong with the others.

    Raises FeedError when the numbers make no sense: then nothing of it can be relied on.
    """
    if answer.next < since:
        raise FeedError("malformed", f"next is {answer.next}, and {since} was asked after: the feed goes back")
    changes: list[Change] = []
    problems: list[str] = []
    last = since
    for item in answer.changes:
        try:
            change = Change.model_validate(item)
        except (ValidationError, RecursionError) as error:
            problems.append(f"a change cannot be read: {_first_problem(error)}")
            continue
        if change.seq <= last:
            problems.append(f"change {change.seq} comes after {last}")
            continue
        changes.append(change)
        last = change.seq
    if last > answer.next:
        raise FeedError("malformed", f"next is {answer.next}, and there is a change {last}")
    return changes, problems


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def outdated(
    records: Iterable[AnchorRecord], registry: RegistryConfig, wanted: Iterable[Wanted]
) -> list[tuple[str, list[str]]]:
    """What the store has of a registry and its snapshot has not: fingerprints, with the domains to end each for."""
    keep = {(item.certificate.fingerprint, item.domain) for item in wanted}
    found = []
    for record in records:
        if record.source is not AnchorSource.REGISTRY:
            continue
        gone = [d for d in record.domains if registry.speaks_for(d) and (record.fingerprint, d) not in keep]
        if gone:
            found.append((record.fingerprint, gone))
    return found


class RegistryFeed:
    """Follows one registry. `position` is kept up to date and outlives the process."""

    def __init__(
        self,
        config: RegistryConfig,
        store: AnchorStore,
        guard: SessionGuard,
        position: FeedPosition,
        metrics: Metrics,
        log: Logger,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigError when the API key cannot be read, OSError when the CA file cannot."""
        self.config, self.position = config, position
        self._store, self._guard, self._metrics, self._wall = store, guard, metrics, wall
        self._log = log.bind(registry=config.name)
        self._key = read_secret(config.api_key_file, f"registry {config.name}: api_key_file")
        self._context = tls_context(config.ca_file)
        self._session: aiohttp.ClientSession | None = None
        # Nothing but a snapshot has been heard since the last 410.
        self._only_snapshots = False
        # An anchor was refused because of another one: when that goes, there may be room for it.
        self._shadowed = False
        self.next_attempt: float | None = None
        self.on_progress: Callable[[int, int], None] = lambda done, total: None

    async def run(self) -> None:
        """Until cancelled. Failures are waited out; nothing that the registry said before is taken back by one."""
        try:
            while True:
                try:
                    began, before = time.monotonic(), self.position.seq
                    await self.step(self.config.wait)
                    if self.position.seq == before:
                        await asyncio.sleep(max(0.0, _PACE_SECONDS - (time.monotonic() - began)))
                except (FeedError, StoreError) as error:
                    await asyncio.sleep(self._failed(error))
                except Exception as error:
                    # Whatever a registry says must not end the worker, or keep it from hearing others.
                    self._log.exception("registry not understood")
                    await asyncio.sleep(self._failed(FeedError("internal", f"{type(error).__name__}: {error}")))
        finally:
            await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _failed(self, error: FeedError | StoreError) -> float:
        reason = error.reason if isinstance(error, FeedError) else "store"
        self._metrics.source_failures.labels(self.config.name, reason).inc()
        if isinstance(error, StoreError):
            self._metrics.store_failures.inc()
        self.position.failures += 1
        self.position.last_error = str(error)
        limits = _BACKOFF_SECONDS if isinstance(error, FeedError) else _STORE_BACKOFF_SECONDS
        wait = retry_after(self.position.failures, *limits) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        self.next_attempt = self._wall() + wait
        self._log.error("registry not heard; it is asked again", error=str(error), retry_seconds=round(wait, 1))
        return wait

    async def step(self, wait: int) -> None:
        """One snapshot or one poll of at most `wait` seconds. Raises FeedError, StoreError."""
        now = self._wall()
        self.next_attempt = None
        if self.position.seq is None or not 0 <= now - self.position.last_snapshot < self.config.resync:
            await self._resync(now)
        else:
            try:
                answer = await self._get(Changes, f"/v1/changes?since={self.position.seq}&wait={wait}", wait)
            except HistoryGone:
                await self._missed()
                return
            await self._follow(answer, self.position.seq)
            # Only a poll shows that the registry is whole again.
            self.position.failures, self._only_snapshots = 0, False
        self.position.last_error = None
        self.position.last_success = self._wall()
        self._metrics.last_success.labels(self.config.name).set(self.position.last_success)

    async def _missed(self) -> None:
        """The registry has forgotten, or renumbered, what comes next: a full comparison is due. Raises FeedError."""
        since, self.position.seq = self.position.seq, None
        if self._only_snapshots:
            raise FeedError("malformed", f"status 410 for {since}, the number that its own snapshot gave")
        self._only_snapshots = True
        self._log.warning("changes were missed; the whole state is compared")

    async def _follow(self, answer: Changes, since: int) -> None:
        """Deal with an answer's changes. Raises FeedError, StoreError.

        A change that the store cannot take is not passed, but those behind it are heard: they may be revocations.
        """
        try:
            changes, problems = read_changes(answer, since)
        except FeedError:
            self.position.seq = None
            raise
        failure: StoreError | None = None
        for change in changes:
            try:
                await self._apply(change)
            except StoreError as error:
                failure = failure or error
            except Exception as error:
                # A defect of ours must not make one change stand in the way of all others.
                self._log.exception("change not dealt with", seq=change.seq)
                problems.append(f"change {change.seq}: {type(error).__name__}: {error}")
            if failure is None:
                self.position.seq = change.seq
        if problems:
            # What it said may have been about any anchor and any name.
            self._metrics.source_failures.labels(self.config.name, "malformed").inc(len(problems))
            self._log.error("changes not understood; the whole state is compared", problems=problems[:5])
            self._compare_soon()
        if failure is not None:
            raise failure
        self.position.seq = answer.next

    def _compare_soon(self) -> None:
        now = self._wall()
        if now - self.position.last_snapshot >= _COMPARE_SECONDS:
            self.position.last_snapshot = 0.0
        else:
            self.position.last_snapshot = now - self.config.resync + _COMPARE_SECONDS

    async def _resync(self, now: float) -> None:
        """Make the store what the registry says, and look at every session of its domains."""
        try:
            snapshot = await self._get(Snapshot, "/v1/snapshot", _SNAPSHOT_SECONDS)
        except HistoryGone as error:
            raise FeedError("status", "status 410 for a snapshot") from error
        if len(snapshot.anchors) > self.config.max_anchors:
            raise FeedError(
                "malformed",
                f"{len(snapshot.anchors)} anchors, at most {self.config.max_anchors} (max_anchors) expected",
            )
        try:
            wanted = await self._replace(snapshot)
        finally:
            # Whatever the disk says: who is gone must not stay connected.
            for domain in self.config.domains:
                await self._guard.domain_changed(domain, Trigger.FEED)
        self.position.seq, self.position.last_snapshot = snapshot.seq, now
        self._log.info("synchronized", anchors=len(wanted), names=len(snapshot.names), seq=snapshot.seq)

    async def _replace(self, snapshot: Snapshot) -> list[Wanted]:
        """Install what a snapshot has, and end what it has not. Raises StoreError."""
        wanted: list[Wanted] = []
        unreadable = False
        self._shadowed = False
        # First the new ones: at no time is a domain without any.
        for number, item in enumerate(snapshot.anchors):
            if number % _BREATH == 0:
                # Sessions are ended and discoveries made meanwhile.
                self.on_progress(number, len(snapshot.anchors))
                await asyncio.sleep(0)
            try:
                message = AnchorMessage.model_validate(item)
                anchor = read_anchor(message, message.domain or "", self.config, self._now())
            except (ValidationError, RecursionError) as error:
                self._refused("not_a_certificate", _first_problem(error))
                unreadable = True
            except CertificateRefused as error:
                self._refused(str(error.problem), str(error))
                unreadable = unreadable or error.problem is CertificateProblem.NOT_A_CERTIFICATE
            except ValueError as error:
                self._refused("outside_domain", str(error))
            else:
                wanted.append(anchor)
                self._install(anchor)
        self.on_progress(len(snapshot.anchors), len(snapshot.anchors))
        if unreadable:
            # One of them may stand for an anchor that we hold: this snapshot takes nothing away.
            self._log.error("snapshot holds anchors that cannot be read; nothing is removed")
            return wanted
        for fingerprint, domains in outdated(self._store.records.values(), self.config, wanted):
            self._store.remove(fingerprint, domains)
            self._log.info("anchor removed", fingerprint=fingerprint, domains=domains)
        if self._shadowed:
            for anchor in wanted:
                self._install(anchor)
        return wanted

    async def _apply(self, change: Change) -> None:
        match change.type:
            case "anchor.added" if change.anchor is not None:
                if item := self._read(change.anchor, change.domain):
                    self._install(item)
            case "anchor.removed" if change.anchor is not None:
                self._withdraw(change.anchor, change.domain)
            case "rollover":
                await self._rolled_over(change.domain)
        if change.name is not None:
            await self._name_changed(change)

    async def _rolled_over(self, text: str) -> None:
        try:
            domain = read_domain(text, self.config)
        except ValueError as error:
            self._log.warning("rollover of a domain that is not the registry's", error=str(error))
            return
        await self._guard.domain_changed(domain, Trigger.ROLLOVER)

    async def _name_changed(self, change: Change) -> None:
        try:
            name = normalize((change.name or "").encode("utf-8", "surrogatepass"))
        except Refused as error:
            self._log.warning("change of an unusable name", error=error.detail)
            return
        if not any(is_within(name, domain) for domain in self.config.domains):
            self._log.warning("change of a name that is not the registry's", name=name)
            return
        await self._guard.changed(name, Trigger.REVOKED if change.type == "device.revoked" else Trigger.FEED)

    def _read(self, message: AnchorMessage, domain: str) -> Wanted | None:
        try:
            return read_anchor(message, domain, self.config, self._now())
        except CertificateRefused as error:
            self._refused(str(error.problem), str(error))
        except ValueError as error:
            self._refused("outside_domain", str(error))
        return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _refused(self, reason: str, error: str) -> None:
        self._metrics.anchors_refused.labels(reason).inc()
        self._log.error("anchor refused", reason=reason, error=error)

    def _install(self, item: Wanted) -> None:
        if self._store.get(item.certificate.fingerprint) is None and not self._has_room():
            self._refused("too_many", f"there are {self.config.max_anchors} of this registry (max_anchors)")
            return
        try:
            added = self._store.add(
                item.certificate, [item.domain], AnchorSource.REGISTRY, datetime.fromtimestamp(self._wall(), UTC)
            )
        except ShadowError as error:
            self._refused("shadows", str(error))
            self._shadowed = True
            return
        if added:
            self._log.info("anchor added", subject=added.subject, domain=item.domain, fingerprint=added.fingerprint)

    def _withdraw(self, message: AnchorMessage, domain: str) -> None:
        if not (item := self._read(message, domain)):
            return
        held = self._store.get(item.certificate.fingerprint)
        if held is None or held.source is not AnchorSource.REGISTRY:
            return
        # With the domains below it, for which discovery may have found the same anchor before the registry named it.
        domains = [domain for domain in held.domains if is_within(domain, item.domain)]
        self._store.remove(held.fingerprint, domains)
        self._log.info("anchor removed", fingerprint=held.fingerprint, domains=domains)
        if self._shadowed:
            # There may be room now for what its presence kept out, as when a CA is replaced by one of the same name.
            self._shadowed = False
            self.position.last_snapshot = 0.0

    def _has_room(self) -> bool:
        # The whole store is the quick answer, and nearly always enough.
        limit = self.config.max_anchors
        if len(self._store) < limit:
            return True
        ours = (
            record
            for record in self._store.records.values()
            if record.source is AnchorSource.REGISTRY and any(self.config.speaks_for(d) for d in record.domains)
        )
        return sum(1 for _ in ours) < limit

    async def _get(self, kind: Any, path: str, wait: float) -> Any:
        """A checked answer. Raises FeedError, HistoryGone."""
        try:
            async with asyncio.timeout(wait + _CONNECT_SECONDS):
                body = await self._fetch(path)
        except TimeoutError as error:
            raise FeedError("timeout", f"no answer within {wait + _CONNECT_SECONDS:g} s") from error
        except (ssl.SSLError, aiohttp.ClientSSLError) as error:
            raise FeedError("tls", str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise FeedError("connect", str(error) or type(error).__name__) from error
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise FeedError("malformed", f"{path}: {_first_problem(error)}") from error

    async def _fetch(self, path: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context, limit=2),
                headers={"Authorization": f"Bearer {self._key}", "User-Agent": "trust-sync"},
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        url = self.config.url + path
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status == 410:
                raise HistoryGone
            if response.status in (401, 403):
                raise FeedError("unauthorized", f"{url}: status {response.status}; is the API key right?")
            if response.status != 200:
                raise FeedError("status", f"{url}: status {response.status}, 200 is expected")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > MAX_ANSWER_OCTETS:
                    raise FeedError("malformed", f"{url}: more than {MAX_ANSWER_OCTETS} octets")
            return bytes(body)

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
_BACKOFF_SECONDS = (1.0, 300.0)


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

    changes: list[Change]
    next: int = Field(ge=0)


class Snapshot(_Message):
    """The whole state."""

    seq: int = Field(ge=0)
    anchors: list[AnchorMessage]
    names: list[str] = []


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

    async def run(self) -> None:
        """Until cancelled. Failures are waited out; nothing that the registry said before is taken back by one."""
        try:
            while True:
                try:
                    await self.step(self.config.wait)
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
        wait = retry_after(self.position.failures, *_BACKOFF_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        self._log.error("registry not heard; it is asked again", error=str(error), retry_seconds=round(wait, 1))
        return wait

    async def step(self, wait: int) -> None:
        """One snapshot or one poll of at most `wait` seconds. Raises FeedError, StoreError."""
        now = self._wall()
        if self.position.seq is None or not 0 <= now - self.position.last_snapshot < self.config.resync:
            await self._resync(now)
        else:
            try:
                answer = await self._get(Changes, f"/v1/changes?since={self.position.seq}&wait={wait}", wait)
            except HistoryGone:
                self._log.warning("changes were missed; the whole state is compared")
                self.position.seq = None
                return
            for change in answer.changes:
                await self._apply(change)
                self.position.seq = change.seq
            self.position.seq = answer.next
        self.position.failures, self.position.last_error = 0, None
        self.position.last_success = self._wall()
        self._metrics.last_success.labels(self.config.name).set(self.position.last_success)

    async def _resync(self, now: float) -> None:
        """Make the store what the registry says, and look at every session of its domains."""
        try:
            snapshot = await self._get(Snapshot, "/v1/snapshot", 0)
        except HistoryGone as error:
            raise FeedError("status", "status 410 for a snapshot") from error
        wanted = [item for message in snapshot.anchors if (item := self._read(message, message.domain or ""))]
        # First the new ones: at no time is a domain without any.
        for item in wanted:
            self._install(item)
        for fingerprint, domains in outdated(self._store.records.values(), self.config, wanted):
            self._store.remove(fingerprint, domains)
            self._log.info("anchor removed", fingerprint=fingerprint, domains=domains)
        for domain in self.config.domains:
            await self._guard.domain_changed(domain, Trigger.FEED)
        self.position.seq, self.position.last_snapshot = snapshot.seq, now
        self._log.info("synchronized", anchors=len(wanted), names=len(snapshot.names), seq=snapshot.seq)

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
            return read_anchor(message, domain, self.config, datetime.fromtimestamp(self._wall(), UTC))
        except CertificateRefused as error:
            reason = str(error.problem)
            self._log.error("anchor refused", reason=reason, error=str(error))
        except ValueError as error:
            reason = "outside_domain"
            self._log.error("anchor refused", reason=reason, error=str(error))
        self._metrics.anchors_refused.labels(reason).inc()
        return None

    def _install(self, item: Wanted) -> None:
        try:
            added = self._store.add(
                item.certificate, [item.domain], AnchorSource.REGISTRY, datetime.fromtimestamp(self._wall(), UTC)
            )
        except ShadowError as error:
            self._metrics.anchors_refused.labels("shadows").inc()
            self._log.error("anchor refused", reason="shadows", error=str(error), domain=item.domain)
            return
        if added:
            self._log.info("anchor added", subject=added.subject, domain=item.domain, fingerprint=added.fingerprint)

    def _withdraw(self, message: AnchorMessage, domain: str) -> None:
        if not (item := self._read(message, domain)):
            return
        held = self._store.get(item.certificate.fingerprint)
        if held is not None and held.source is AnchorSource.REGISTRY:
            self._store.remove(held.fingerprint, [item.domain])
            self._log.info("anchor removed", fingerprint=held.fingerprint, domains=[item.domain])

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
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise FeedError("malformed", f"{path}: {where}: {first['msg']}") from error

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

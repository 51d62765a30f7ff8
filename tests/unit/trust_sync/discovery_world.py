"""DNS answers and web files that a test chooses, and the anchors that follow from them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from dane_radius.core import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, TlsaRecord, Unavailable
from dane_radius.local import LogConfig, open_log
from policy import parse_policy
from tests.harness.pki import authority
from trust_sync.anchors import AnchorStore
from trust_sync.discovery import AnchorSearch, DiscoveryContext, DiscoveryState, Outcome
from trust_sync.discovery.fetch import Fetched, Fetcher, FetchFailed
from trust_sync.discovery.installer import StoreInstaller
from trust_sync.discovery.reasons import FetchProblem
from trust_sync.discovery.refresh import AnchorRefresher
from trust_sync.discovery.retirement import AnchorRetirement
from trust_sync.shared import DiscoveryConfig, DnsClient, Reporting
from trust_sync.worker.metrics import Metrics

NOW = datetime.now(UTC)


DOMAIN = "_device.example.net"


ONE, TWO = f"a1.{DOMAIN}", f"b2.{DOMAIN}"


DAY = 86_400.0


WILD = "version: 1\nrules:\n  - {name: all, identity: ['**.example.net'], pkix_cd: true, grant: {vlan: 1}}\n"


OLD, NEW = authority("Old CA"), authority("New CA")


DEVICE = OLD.issue(ONE)


ABSENT = SecureAbsent(Absence.NXDOMAIN, 60)


FAILURES = [Unavailable("down"), Bogus(6, "bad"), Insecure("no AD")]


class World:
    """DNS answers and web files that a test chooses, and a clock that it moves."""

    def __init__(self, folder: Path, policy: str = WILD, **limits: Any) -> None:
        self.now, self.policy = NOW.timestamp(), parse_policy(policy.encode())
        self.answers: dict[str, Answer] = {}
        self.files: dict[str, Fetched] = {}
        self.asked: list[str] = []
        self.live: list[str] = []
        self.store, self.state, self.metrics = AnchorStore(folder / "anchors"), DiscoveryState(), Metrics([])
        self.config = DiscoveryConfig(**limits)
        log, _ = open_log(LogConfig(destination="none"))
        self.context = DiscoveryContext(
            self.config, lambda: self.policy, self.store.held, cast(DnsClient, self), lambda: self.now
        )
        installer = StoreInstaller(self.config, self.store, self.context.wall)
        self.search = AnchorSearch(self.context, cast(Fetcher, self), installer)
        reporting = Reporting(self.metrics.discovery, log)
        retirement = AnchorRetirement(
            self.context, self.store, self.state, lambda: self.live, reporting, self.metrics.anchors
        )
        self.refresher = AnchorRefresher(self.context, self.search, retirement, self.state, reporting)

    async def tlsa(self, name: str) -> Answer:
        self.asked.append(name)
        return self.answers.get(name, ABSENT)

    async def get(self, host: str, path: str) -> Fetched:
        self.asked.append(path)
        if path not in self.files:
            raise FetchFailed(FetchProblem.STATUS, "status 404, 200 is expected")
        return self.files[path]

    def say(self, name: str, *records: TlsaRecord, ttl: int = 60) -> None:
        self.answers[name] = Secure(records, ttl)

    async def find(self, name: str) -> Outcome:
        """Search for a name's anchors, and have them refreshed."""
        outcome = await self.search.find(name)
        self.refresher.remember(outcome)
        return outcome

    async def later(self, seconds: float) -> None:
        """Move the clock, and do what is due."""
        self.now += seconds
        await self.refresher.step()

    @property
    def held(self) -> set[str]:
        return set(self.store.held.records)

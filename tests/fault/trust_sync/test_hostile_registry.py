"""A registry attacks the worker. Revocations of the other registry reach the NAS without delay; memory is bounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fault.trust_sync import attacks
from tests.fault.trust_sync.neighbours import HONEST, HOSTILE, MEMORY_OCTETS, Neighbours, neighbours, resident_octets
from tests.harness.process import wait_for
from tests.harness.trust_sync import TrustSync

pytestmark = [pytest.mark.daemons, pytest.mark.timeout(240)]

REVOCATIONS = 6
# Each revocation takes milliseconds. Without bounds, it takes minutes, or never happens.
PATIENCE_SECONDS = 10.0
_numbers = itertools.count()


@pytest.fixture(scope="module")
def site() -> Iterator[Neighbours]:
    with neighbours() as found:
        found.publish(HOSTILE, attacks.RESIDENTS)
        yield found


@pytest.fixture(autouse=True)
def _fresh(site: Neighbours) -> Iterator[None]:
    site.clear()
    site.farm.arrived.clear()
    site.hostile.files.clear()
    site.hostile.requests.clear()
    yield
    site.relay.set(round_trip=0.0, black_hole=False)


def devices(site: Neighbours, count: int = REVOCATIONS) -> dict[str, str]:
    """New honest devices with live sessions."""
    names = [f"h{next(_numbers)}._device.{HONEST}" for _ in range(count)]
    site.publish(HONEST, names)
    return dict(zip(names, site.admit(names), strict=True))


@dataclass(frozen=True)
class Observed:
    """What honest devices and the worker experienced during an attack."""

    slowest_seconds: float
    memory_octets: int
    pending: int

    @property
    def problems(self) -> list[str]:
        """The bounds that were exceeded."""
        found = {
            f"a revocation took {self.slowest_seconds:.1f} s": self.slowest_seconds >= PATIENCE_SECONDS,
            f"the worker had {self.memory_octets / attacks.MIB:.0f} MiB": self.memory_octets >= MEMORY_OCTETS,
            f"{self.pending} sessions are pending": self.pending > 0,
        }
        return [problem for problem, exceeded in found.items() if exceeded]


def revoke_all(site: Neighbours, sync: TrustSync, sessions: dict[str, str]) -> Observed:
    """Revoke honest devices one after the other during the attack."""
    wait_for(lambda: sync.status()["sessions"]["watched_names"] >= len(sessions), "the sessions", timeout=30)
    wait_for(lambda: sync.status()["registries"]["honest"]["seq"] is not None, "the honest registry", timeout=30)
    wait_for(lambda: len(site.hostile.requests) >= 3, "the attack to begin", timeout=30)
    took = []
    for name, session in sessions.items():
        took.append(site.revoke(name, session))
        wait_for(lambda: sync.status()["sessions"]["pending_count"] == 0, "the NAS's reply", timeout=PATIENCE_SECONDS)
    if sync.daemon is None:
        raise RuntimeError("the worker does not run")
    memory = resident_octets(sync.daemon.pid)
    print(f"slowest revocation {max(took):.3f} s, memory {memory / attacks.MIB:.0f} MiB")
    return Observed(max(took), memory, sync.status()["sessions"]["pending_count"])


@pytest.mark.parametrize("dns", ["slow", "silent"])
@pytest.mark.parametrize("attack", ["revocations of strangers", "revocations of residents"])
def test_thousands_of_revocations_over_a_bad_dns(site: Neighbours, attack: str, dns: str) -> None:
    sessions = devices(site)
    if "residents" in attack:
        site.admit(attacks.RESIDENTS)
    site.relay.set(round_trip=0.1, black_hole=dns == "silent")
    attacks.begin(site.hostile, attack)
    with site.sync(f"{attack.split()[-1]}-{dns}") as sync:
        assert revoke_all(site, sync, sessions).problems == []
        # Names without sessions are never looked up.
        asked = site.unbound.log.read_text().count(f"._device.{HOSTILE}. TLSA") if "strangers" in attack else 0
        assert asked == 0


@pytest.mark.parametrize("attack", [name for name in attacks.CHANGES if not name.startswith("revocations")])
def test_answers_to_a_poll(site: Neighbours, attack: str) -> None:
    sessions = devices(site)
    attacks.begin(site.hostile, attack)
    with site.sync(f"poll-{next(_numbers)}") as sync:
        assert revoke_all(site, sync, sessions).problems == []


@pytest.mark.parametrize("attack", attacks.SNAPSHOTS)
def test_snapshots(site: Neighbours, attack: str) -> None:
    sessions = devices(site)
    attacks.begin(site.hostile, attack)
    site.hostile.requests += ["/v1/snapshot"] * 2
    with site.sync(f"snapshot-{next(_numbers)}") as sync:
        assert revoke_all(site, sync, sessions).problems == []


def test_a_bound_is_named_and_a_registry_that_keeps_to_it_again_is_heard(site: Neighbours) -> None:
    sessions = devices(site, 1)
    site.hostile.files["/v1/changes"] = attacks.fixed(attacks.changes_of(b"{}", attacks.MIB))
    with site.sync("bound") as sync:
        wait_for(lambda: sync.status()["registries"]["hostile"]["error"], "the error", timeout=30)
        assert "10001 changes or more, at most 10000 expected" in sync.status()["registries"]["hostile"]["error"]
        site.hostile.files.clear()
        wait_for(lambda: sync.status()["registries"]["hostile"]["error"] is None, "the end of it", timeout=60)
        # Its own revocations take effect as before.
        name = f"reformed._device.{HOSTILE}"
        site.publish(HOSTILE, [name])
        (session,) = site.admit([name])
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 2, "the session", timeout=30)
        site.withdraw(HOSTILE, [name])
        site.hostile.announce("device.revoked", name=name, domain=HOSTILE)
        wait_for(lambda: session in site.farm.arrived, "its session to end", timeout=30)
        assert not set(sessions.values()) & site.farm.arrived.keys()

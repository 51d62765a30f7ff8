"""What the demo observes. Each observation is one authentication (or a few), and whether it came out as it must."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dane_radius.core.certificate import candidate_names, parse_leaf
from tests.demo.world import DNS_DEADLINE, SIGNED, TAMPERED, UNSIGNED, World, device_name
from tests.harness.eap import EapResult, authenticate, write_peer_config
from tests.harness.process import wait_for


@dataclass
class Observation:
    """One line of the demo."""

    key: str
    title: str
    verdict: str = ""
    reason: str = ""
    evidence: str = ""
    milliseconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return not self.problems

    def expect(self, condition: object, problem: str) -> None:
        """Note `problem` unless `condition` holds."""
        if not condition:
            self.problems.append(problem)

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "title": self.title,
            "held": self.held,
            "problems": self.problems,
            "verdict": self.verdict,
            "reason": self.reason,
            "evidence": self.evidence,
            "milliseconds": round(self.milliseconds, 1),
            **self.details,
        }


class Story:
    """Runs the observations in a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def observations(self) -> Iterator[Observation]:
        """Each as it is made; the order matters, because some change the world."""
        for step in (
            self._key_record,
            self._tls_1_2,
            self._certificate_record,
            self._rollover,
            self._no_record,
            self._stolen_name,
            self._no_rule,
            self._anonymous,
            self._tampered_zone,
            self._unsigned_zone,
            self._deleted_record,
            self._silent_resolver,
        ):
            yield step()

    def _authenticate(
        self, observation: Observation, device: str, *, identity: str | None = None, tls: str = "1.3"
    ) -> EapResult:
        world = self.world
        name = candidate_names(parse_leaf(world.devices[device].der))[0]
        config = write_peer_config(
            world.folder / "peers",
            world.devices[device],
            identity=identity or name,
            server_ca=world.radius.server_ca_file,
            tls=tls,
            name=f"{observation.key}-{device}",
        )
        result = authenticate(world.radius, config)
        decision = world.radius.decision_for(result.station)
        observation.verdict = decision["verdict"]
        observation.reason = decision["reason"]
        observation.milliseconds = result.seconds * 1000
        observation.details |= {
            "radius": result.code,
            "tls_version": result.tls_version,
            "outer_identity": identity or name,
            "decision": decision,
            "decision_milliseconds": decision["milliseconds"],
            "attributes": result.attributes,
        }
        return result

    def _accepted(
        self,
        key: str,
        title: str,
        device: str,
        *,
        identity: str | None = None,
        tls: str = "1.3",
    ) -> Observation:
        observation = Observation(key, title)
        result = self._authenticate(observation, device, identity=identity, tls=tls)
        name = device_name(device)
        observation.expect(result.accepted, f"EAP did not succeed ({result.code})")
        observation.expect(result.code == "Access-Accept", f"the RADIUS answer is {result.code}")
        observation.expect(observation.reason == "dane_match", f"the reason is {observation.reason}")
        observation.expect(result.text("User-Name") == name, f"User-Name is {result.text('User-Name')}, not {name}")
        vlan = result.attributes.get("Tunnel-Private-Group-Id", ["?"])[0]
        observation.expect(vlan == b"42".hex(), f"Tunnel-Private-Group-Id is {vlan}")
        observation.expect(result.attributes.get("Tunnel-Type") == ["0000000d"], "Tunnel-Type is not VLAN")
        observation.expect(
            result.attributes.get("Tunnel-Medium-Type") == ["00000006"], "Tunnel-Medium-Type is not IEEE-802"
        )
        observation.expect(result.tls_version == tls, f"TLS {result.tls_version} was used, not {tls}")
        matched = observation.details["decision"]["evidence"].get("matched", "?")
        observation.evidence = f"TLSA {matched[:16]}… secure; VLAN 42, User-Name {name}"
        return observation

    def _rejected(self, key: str, title: str, device: str, reason: str, **options: Any) -> Observation:
        observation = Observation(key, title)
        result = self._authenticate(observation, device, **options)
        observation.expect(not result.accepted, "EAP succeeded")
        observation.expect(result.code == "Access-Reject", f"the RADIUS answer is {result.code}")
        observation.expect(observation.reason == reason, f"the reason is {observation.reason}, not {reason}")
        observation.evidence = observation.details["decision"]["detail"]
        return observation

    def _key_record(self) -> Observation:
        return self._accepted("key-record", "device whose key is published (3 1 1)", "front")

    def _tls_1_2(self) -> Observation:
        return self._accepted("tls-1.2", "the same device over TLS 1.2", "front", tls="1.2")

    def _certificate_record(self) -> Observation:
        return self._accepted("certificate-record", "device whose certificate is published (3 0 1)", "back")

    def _rollover(self) -> Observation:
        observation = self._accepted("rollover", "key rollover: one stale record, one right", "rolled")
        records = observation.details["decision"]["evidence"]["records"]
        observation.expect(len(records) == 2, f"{len(records)} records were seen, not 2")
        return observation

    def _no_record(self) -> Observation:
        return self._rejected("no-record", "trusted CA, but the name has no TLSA record", "unlisted", "tlsa_absent")

    def _stolen_name(self) -> Observation:
        observation = self._rejected("stolen-name", "stolen name, from another trusted CA", "impostor", "tlsa_mismatch")
        observation.expect(
            observation.details["decision"]["name"] == device_name("front"), "the stolen name was not the one looked up"
        )
        return observation

    def _no_rule(self) -> Observation:
        observation = self._rejected("no-rule", "name that no rule covers", "stranger", "policy_no_rule")
        queries = self.world.unbound.queries_for("cam._device.stranger.example")
        control = self.world.unbound.queries_for(device_name("front"))
        observation.details["dns_queries"] = queries
        observation.expect(queries == 0, f"the resolver saw {queries} queries for the name")
        observation.expect(control > 0, "the resolver's query log shows nothing at all")
        observation.evidence += f"; the resolver saw {queries} queries for it"
        return observation

    def _anonymous(self) -> Observation:
        return self._accepted("anonymous", "anonymous outer identity", "front", identity=f"anonymous@_device.{SIGNED}")

    def _tampered_zone(self) -> Observation:
        observation = self._rejected("tampered-zone", f"broken DNSSEC signature ({TAMPERED})", "tampered", "dns_bogus")
        dns = observation.details["decision"]["evidence"].get("dns", "")
        observation.expect("EDE" in dns, f"the evidence names no extended DNS error ({dns})")
        return observation

    def _unsigned_zone(self) -> Observation:
        return self._rejected("unsigned-zone", f"zone without DNSSEC ({UNSIGNED})", "unsigned", "dns_insecure")

    def _deleted_record(self) -> Observation:
        world = self.world
        before = Observation("before", "")
        accepted = self._authenticate(before, "retired")
        name = device_name("retired")
        world.knot.delete_tlsa(SIGNED, name)
        # Until the TTL is over in the resolver, and in the module, which may count it from up to a second later.
        over = time.monotonic() + before.details["decision"]["evidence"]["ttl"] + 1
        wait_for(lambda: not world.unbound.query(name).answer, "the deleted record to leave the resolver", 15, 0.2)
        wait_for(lambda: time.monotonic() > over, "the TTL to be over in the module", 15, 0.2)
        observation = self._rejected(
            "deleted-record", "record deleted by a DNS update, after its TTL", "retired", "tlsa_absent"
        )
        observation.expect(accepted.accepted, "the device was not accepted before")
        observation.details["accepted_before"] = accepted.accepted
        return observation

    def _silent_resolver(self) -> Observation:
        unbound = self.world.unbound
        assert unbound.daemon is not None
        unbound.daemon.signal(signal.SIGSTOP)
        try:
            observation = self._rejected("silent-resolver", "the resolver is stopped", "late", "dns_unavailable")
        finally:
            unbound.daemon.signal(signal.SIGCONT)
        spent = observation.details["decision_milliseconds"]
        observation.details["deadline_milliseconds"] = DNS_DEADLINE * 1000
        # The deadline bounds the wait for the DNS; a busy host may add some scheduling to it.
        observation.expect(spent < DNS_DEADLINE * 1000 + 500, f"the decision took {spent:.0f} ms")
        observation.evidence += f" (deadline {DNS_DEADLINE} s)"
        return observation


def run(world: World, show: Callable[[Observation], None]) -> list[Observation]:
    """All observations, each shown as soon as it is made."""
    made = []
    for observation in Story(world).observations():
        show(observation)
        made.append(observation)
    return made
